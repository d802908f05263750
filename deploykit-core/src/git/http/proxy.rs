//! The proxy that the environment names, as git chooses it.
//!
//! ureq would take any of the variables for any address, and pass over one that it cannot read.

use std::env;

use ureq::Proxy;

use crate::git::fault::Fault;
use crate::git::url::Transport;

/// A proxy, and the variable that names it.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub(super) proxy: Proxy,
    variable: &'static str,
}

/// The variables that count for an address, the first one first. `HTTP_PROXY` is none of them: a web
/// server hands it to its programs with what a client has sent.
fn variables(transport: Transport) -> &'static [&'static str] {
    match transport {
        Transport::Https => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        _ => &["http_proxy", "all_proxy", "ALL_PROXY"],
    }
}

/// The proxy for addresses of this kind, if there is one.
pub(super) fn choose(transport: Transport) -> Result<Option<Chosen>, Fault> {
    let lookup = |name: &&'static str| {
        let value = env::var_os(*name).filter(|value| !value.is_empty())?;
        Some((*name, value.to_string_lossy().into_owned()))
    };
    let Some((variable, value)) = variables(transport).iter().find_map(lookup) else {
        return Ok(None);
    };
    let exceptions = ["no_proxy", "NO_PROXY"].into_iter().find_map(|name| env::var(name).ok());
    let proxy = read(&value, &exceptions.unwrap_or_default())
        .map_err(|why| Fault::ProxyVariable { variable, why })?;
    Ok(Some(Chosen { proxy, variable }))
}

/// Reads the value of a variable. It may contain a password, so errors do not repeat it.
fn read(value: &str, exceptions: &str) -> Result<Proxy, &'static str> {
    let unreadable = "that is not the address of a proxy";
    let address = Proxy::new(value).map_err(|_| unreadable)?;
    if address.host().is_empty() {
        return Err(unreadable);
    }
    let protocol = address.protocol();
    if !matches!(protocol, ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https) {
        return Err("only http and https proxies are supported");
    }
    let mut proxy = Proxy::builder(protocol).host(address.host()).port(address.port());
    if let Some(user) = address.username() {
        proxy = proxy.username(user);
    }
    if let Some(password) = address.password() {
        proxy = proxy.password(password);
    }
    for name in exceptions.split([',', ' ']).filter(|name| !name.is_empty()) {
        // As for curl, and so for git, a name stands for the hosts below it, too.
        proxy = match name.trim_start_matches(['*', '.']) {
            "" => proxy.no_proxy("*"),
            name => proxy.no_proxy(name).no_proxy(&format!(".{name}")),
        };
    }
    proxy.build().map_err(|_| unreadable)
}

impl Chosen {
    /// Whether a request to `url` goes through it.
    fn serves(&self, url: &str) -> bool {
        !url.parse().is_ok_and(|uri| self.proxy.is_no_proxy(&uri))
    }

    /// The host that is connected to for a request to `url`, if it is not the one in there.
    pub(super) fn host_for(&self, url: &str) -> Option<&str> {
        self.serves(url).then(|| self.proxy.host())
    }

    /// A fault of a request to `url`. No other host than the proxy is looked up or connected to, so
    /// what fails there is the proxy's.
    pub(super) fn blame(&self, url: &str, fault: Fault) -> Fault {
        let of_connection = matches!(
            fault,
            Fault::HostNotFound { .. }
                | Fault::Connect { .. }
                | Fault::ConnectTimeout { .. }
                | Fault::ProxyRefused { .. }
        );
        if of_connection && self.serves(url) {
            Fault::Proxy { variable: self.variable, source: Box::new(fault) }
        } else {
            fault
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_proxy_stand_for_the_hosts_below_them() {
        let proxy = read("http://me:secret@proxy.org:3128", "example.org, .local,*.net").unwrap();
        assert_eq!((proxy.host(), proxy.port()), ("proxy.org", 3128));
        assert_eq!((proxy.username(), proxy.password()), (Some("me"), Some("secret")));
        let direct = |host: &str| proxy.is_no_proxy(&format!("https://{host}/x").parse().unwrap());
        for host in ["example.org", "git.example.org", "local", "a.local", "a.b.net"] {
            assert!(direct(host), "{host}");
        }
        assert!(!direct("example.com") && !direct("notexample.org"));
        assert!(read("proxy", "*").unwrap().is_no_proxy(&"https://x/".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_repeating_it() {
        for value in ["socks5://me:S3CRET@host:1", "://S3CRET", "ftp://S3CRET@x"] {
            assert!(!read(value, "").unwrap_err().contains("S3CRET"));
        }
    }
}
