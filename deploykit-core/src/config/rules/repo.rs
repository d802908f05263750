//! Rules of `[repo]`.

use super::Rules;
use crate::config::RepoConfig;
use crate::id::Revision;

pub(super) fn check(rules: &mut Rules<'_>, repo: &RepoConfig) {
    if repo.token.is_some() && repo.password.is_some() {
        let hint = "a token is used without a password, or as the password of a user name";
        rules.together(&["repo", "token"], &["repo", "password"], hint);
    }
    if repo.password.is_some() && repo.username.is_none() && rules.is_whole(&["repo"]) {
        let place = rules.key(&["repo", "password"]);
        let hint = "username = \"…\" beside it, or token = \"…\" in its place";
        rules.missing(place, "`repo.password` needs `repo.username`", Some(hint));
    }
    if let Some(text) = &repo.revision
        && let Err(error) = text.parse::<Revision>()
    {
        rules.wrong(&["repo", "revision"], error, None);
    }
    rules.longer_than_nothing(&["repo", "timeout"], repo.timeout);
}
