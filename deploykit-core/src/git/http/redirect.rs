//! Where a redirection may lead.

/// What to ask instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) url: String,
    /// The repository's address from now on.
    pub(super) base_url: String,
    /// Whether credentials for the one may be sent to the other.
    pub(super) same_server: bool,
}

/// What to ask after `url`, which is `base_url` with something behind it, was redirected to
/// `location`.
pub(super) fn target(url: &str, base_url: &str, location: &str) -> Result<Target, &'static str> {
    let next = absolute(url, location).ok_or("that is not an address")?;
    let old = origin(url).ok_or("that is not an address")?;
    let new = origin(&next).ok_or("that is not an address")?;
    if new.0 != old.0 && !(old.0 == "http" && new.0 == "https") {
        return Err("that would be less safe than https");
    }
    // What was asked for below the repository has to be asked for there as well: otherwise
    // somebody redirects to a page for people.
    let tail = url.strip_prefix(base_url).ok_or("that is not a repository")?;
    let base = next.strip_suffix(tail).ok_or("that is not a repository")?;
    Ok(Target { base_url: base.to_owned(), same_server: old == new, url: next.clone() })
}

fn absolute(url: &str, location: &str) -> Option<String> {
    if location.is_empty() {
        return None;
    }
    if location.contains("://") {
        return Some(location.to_owned());
    }
    let (scheme, rest) = url.split_once("://")?;
    if let Some(authority) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{authority}"));
    }
    let host = rest.split(['/', '?']).next()?;
    location.starts_with('/').then(|| format!("{scheme}://{host}{location}"))
}

/// Scheme, host and port.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: ureq::http::Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = match scheme.as_str() {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    if uri.authority()?.as_str().contains('@') {
        return None;
    }
    let host = uri.host()?.to_ascii_lowercase();
    Some((scheme, host, uri.port_u16().unwrap_or(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "/info/refs?service=git-upload-pack";

    fn from(base: &str, location: &str) -> Result<Target, &'static str> {
        target(&format!("{base}{TAIL}"), base, location)
    }

    #[test]
    fn the_repository_moves_with_the_redirection() {
        let moved = from("https://a.org/x", &format!("/x.git{TAIL}")).unwrap();
        assert_eq!(moved.base_url, "https://a.org/x.git");
        assert!(moved.same_server);
        let moved = from("https://a.org/x", &format!("https://A.org:443/y{TAIL}")).unwrap();
        assert!(moved.same_server);
    }

    #[test]
    fn another_server_is_another_port_host_or_scheme() {
        for to in ["https://b.org/x", "https://a.org:8443/x", "https://a.org.evil/x"] {
            assert!(!from("https://a.org/x", &format!("{to}{TAIL}")).unwrap().same_server, "{to}");
        }
        assert!(!from("http://a.org/x", &format!("https://a.org/x{TAIL}")).unwrap().same_server);
    }

    #[test]
    fn a_redirection_to_plain_http_to_a_page_or_with_a_password_is_refused() {
        assert!(from("https://a.org/x", &format!("http://a.org/x{TAIL}")).is_err());
        assert!(from("https://a.org/x", &format!("ftp://a.org/x{TAIL}")).is_err());
        assert!(from("https://a.org/x", "https://a.org/login").is_err());
        assert!(from("https://a.org/x", &format!("https://me:pw@a.org/x{TAIL}")).is_err());
        assert!(from("https://a.org/x", "").is_err());
    }
}
