//! What gives a secret away: the name that it goes by, or a form of its own.

/// Parts of names that only secrets have.
const TELLING: [&str; 11] = [
    "token",
    "passw",
    "passphrase",
    "secret",
    "pwd",
    "apikey",
    "api_key",
    "access_key",
    "private_key",
    "auth",
    "cookie",
];

/// The table of headers that a health check sends: any of them may be what it is known by.
const HEADERS: &str = "send";

/// The longest word that can be a slip of the fingers.
const LONGEST_SLIP: usize = 16;

/// How the tokens of git hosts begin.
const TOKENS: [&str; 12] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "gldt-",
    "glcbt-",
    "gloas-",
    "glptt-",
    "ATBB",
];

/// No name of a user or a variable is so long, and nothing but letters and digits.
const SHORTEST_BARE_TOKEN: usize = 40;

/// Whether only a secret has this name.
pub(super) fn is_telling_name(name: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    TELLING.iter().any(|telling| name.contains(telling))
}

/// Whether this has the form of a git host's token.
pub(super) fn is_token(word: &str) -> bool {
    TOKENS.iter().any(|start| word.len() > start.len() && word.starts_with(start))
}

/// Whether this user name is a token that was put in its place.
pub(super) fn is_token_as_user(user: &str) -> bool {
    let bare = user.len() >= SHORTEST_BARE_TOKEN && user.bytes().all(|b| b.is_ascii_alphanumeric());
    bare || is_token(user)
}

/// Whether a part of a key, or a word, sounds like the name of a secret, misspelt ones included.
pub(super) fn sounds_secret(part: &str) -> bool {
    let part = part.to_lowercase().replace('-', "_");
    let near = |word: &str, distance| {
        part.len() <= LONGEST_SLIP && strsim::osa_distance(&part, word) <= distance
    };
    is_telling_name(&part)
        || part == HEADERS
        // Nobody writes a letter of a key as its number but to hide the key.
        || ["\\u", "\\x"].iter().any(|escape| part.contains(escape))
        || (part.len() >= 3 && near("token", 2))
        || (part.len() >= 5 && near("password", 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_known_by_their_form_and_names_of_users_are_none() {
        for token in ["ghp_x1", "github_pat_11A", "glpat-x", &"0a".repeat(20)] {
            assert!(is_token_as_user(token), "{token}");
        }
        for name in ["me", "ghp_", "git", "x-token-auth", "oauth2", "name-at-123456789012"] {
            assert!(!is_token_as_user(name), "{name}");
        }
        // The hash of a commit in a text is no token.
        assert!(!is_token(&"0a".repeat(20)));
    }
}
