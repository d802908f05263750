// A service that loses no request when another release takes over, with Node's own server: it takes the socket
// that is there already, says when it is ready, and when it is asked to end it accepts nobody any more, finishes
// what it has begun, and says good-bye on each connection with its last answer.

'use strict';

const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');

// So long a connection may lie idle that a client uses again: longer than clients keep them.
const IDLE = 2500;

const version = fs.readFileSync('VERSION', 'utf8').trim();
let draining = false;

const server = http.createServer((request, response) => {
  const answer = () => {
    // The last answer of a connection says so, and the client opens another one.
    if (draining) response.setHeader('Connection', 'close');
    response.setHeader('X-Version', version);
    response.end(`${version} is here\n`);
  };
  if (request.url === '/slow') setTimeout(answer, 800);
  else answer();
});
// Node closes what has been idle for five seconds, which may be just when it is used again.
server.keepAliveTimeout = 75_000;

// The socket is descriptor 3: `LISTEN_FDS` says how many there are.
server.listen({ fd: 3 }, () => console.log('ready'));

process.once('SIGTERM', () => {
  draining = true;
  // From here on the next release accepts. The server's own close() would close idle connections at once, and
  // lose what is just being sent over them; that of the plain server below it does not.
  net.Server.prototype.close.call(server);
  setTimeout(() => {
    // What is still being answered is finished, and what is idle closed; then nothing is left to do.
    server.closeIdleConnections();
    server.keepAliveTimeout = 1;
  }, IDLE);
});
