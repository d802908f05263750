//! The notifier `mail`: over SMTP.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use camino::Utf8PathBuf;
use deploykit_core::config::{NotifierConfig, SmtpConfig, SmtpTls};
use deploykit_core::traits::{BoxError, Notifier, NotifierError};
use deploykit_core::{
    BackendRequest, Context, Interrupted, Masker, Message, chain, interruptible, read_secret,
};
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{SmtpTransport, Transport as _};

use crate::seconds;

/// How long it may take when the context has no deadline.
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Mail {
    name: String,
    server: SmtpConfig,
    from: Mailbox,
    to: Vec<Mailbox>,
    app: Utf8PathBuf,
    masker: Masker,
}

impl Mail {
    pub(crate) fn construct(
        request: &BackendRequest<'_>,
        config: &NotifierConfig,
    ) -> Result<Arc<dyn Notifier>, BoxError> {
        let server = request.config.notify.smtp.clone();
        let server = server.ok_or("[notify.smtp] names no server that takes mail")?;
        let mailbox = |text: &String| {
            text.parse::<Mailbox>().map_err(|error| format!("{text:?} is no address: {error}"))
        };
        let to = config.to.iter().map(mailbox).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err("it needs somebody in `to`".into());
        }
        Ok(Arc::new(Self {
            name: config.label(),
            from: mailbox(&server.from)?,
            server,
            to,
            app: request.layout.root().to_owned(),
            masker: request.masker.clone(),
        }))
    }

    /// The connection. Secrets and certificates are read for every mail: what was rotated is used at once.
    fn transport(&self, host: &str, within: Duration) -> Result<SmtpTransport, String> {
        let server = &self.server;
        let tls = match server.tls {
            SmtpTls::None => Tls::None,
            SmtpTls::Implicit => Tls::Wrapper(self.parameters()?),
            _ => Tls::Required(self.parameters()?),
        };
        let mut builder = SmtpTransport::builder_dangerous(&server.host)
            .port(server.port.unwrap_or_else(|| server.tls.port()))
            .timeout(Some(within))
            .tls(tls);
        if !host.is_empty() {
            builder = builder.hello_name(ClientId::Domain(host.to_owned()));
        }
        if let (Some(user), Some(password)) = (&server.user, &server.password) {
            let password = read_secret(&password.below(&self.app))
                .map_err(|error| format!("the password of {user}: {}", chain(&error)))?;
            self.masker.learn(&password);
            let password = password.expose().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(builder.build())
    }

    fn parameters(&self) -> Result<TlsParameters, String> {
        let mut builder = TlsParameters::builder(self.server.host.clone());
        if let Some(file) = &self.server.ca_file {
            let path = self.app.join(file);
            let failed = |why: &dyn std::fmt::Display| format!("the certificates in {path}: {why}");
            let pem = std::fs::read(&path).map_err(|error| failed(&error))?;
            let certificate = Certificate::from_pem(&pem).map_err(|error| failed(&error))?;
            builder = builder.add_root_certificate(certificate);
        }
        builder.build_rustls().map_err(|error| chain(&error))
    }

    fn compose(&self, message: &Message) -> Result<lettre::Message, String> {
        let since = Duration::from_millis(u64::try_from(message.at.as_millis()).unwrap_or(0));
        let mut builder = lettre::Message::builder()
            .from(self.from.clone())
            .subject(one_line(&message.subject()))
            .date(SystemTime::UNIX_EPOCH + since)
            // The same for the same: a mail that comes twice can be known again.
            .message_id(Some(format!("<{}>", identity(message))))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        // Nobody who is on holiday answers it (RFC 3834).
        let name = HeaderName::new_from_ascii_str("Auto-Submitted");
        builder = builder.raw_header(HeaderValue::new(name, "auto-generated".to_owned()));
        builder.body(message.body()).map_err(|error| error.to_string())
    }
}

impl Notifier for Mail {
    fn name(&self) -> &str {
        &self.name
    }

    fn send(&self, ctx: &Context, message: &Message) -> Result<(), NotifierError> {
        let refused = |why: String| NotifierError::Refused { why: self.masker.mask(&why).into() };
        let within = ctx.remaining().unwrap_or(LONGEST);
        let mail = self.compose(message).map_err(refused)?;
        let transport = self.transport(&message.host, within).map_err(refused)?;
        let late = || {
            let (host, within) = (&self.server.host, seconds(within));
            NotifierError::Late { what: format!("{host} has not taken it within {within} s") }
        };
        match interruptible(ctx, within, move || transport.send(&mail).map(drop)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if is_late(&error) => Err(late()),
            Ok(Err(error)) => Err(refused(format!("{}: {}", self.server.host, chain(&error)))),
            Err(Interrupted::Cancelled(_)) => Err(NotifierError::Cancelled),
            Err(Interrupted::Late) => Err(late()),
            Err(error) => Err(refused(chain(&error))),
        }
    }
}

/// Whether somebody was waited for too long: Linux says of a read with a time limit that it would block.
fn is_late(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .any(|error| matches!(error.kind(), TimedOut | WouldBlock))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What tells a mail from all others, of whatever application and host.
fn identity(message: &Message) -> String {
    use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
    let of: BuildHasherDefault<DefaultHasher> = BuildHasherDefault::default();
    let application = of.hash_one(message.application.as_str());
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '-' };
    let host: String = message.host.chars().map(plain).collect();
    let host = if host.is_empty() { "localhost".to_owned() } else { host };
    let id: String = message.id.chars().map(plain).collect();
    format!("{id}.{}.{application:016x}@{host}", message.at.as_millis())
}
