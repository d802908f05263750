//! What of the configuration shapes a build.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{Config, EnvValue, RelPath};
use crate::id::BuildDigest;

/// Says how the digest is made. Another way of making it gets another name, so that digests made in
/// two ways are never equal by accident.
const VERSION: &str = "deploykit-build-1";

/// Everything that shapes a build, and nothing else. Names and time limits do not: the same tree
/// comes out. Shared directories do, although they are linked after the build, since a release
/// without their links is another release. Secrets are in it as references: a rotated one is no
/// reason to build again.
#[derive(Serialize)]
struct Shape<'a> {
    version: &'static str,
    backend: &'a str,
    steps: Vec<Step<'a>>,
    env: &'a BTreeMap<String, EnvValue>,
    files: Vec<&'a RelPath>,
    build_dirs: Vec<&'a RelPath>,
    dirs: Vec<&'a RelPath>,
    settings: &'a super::Settings,
}

/// One step; a plain command is a step without a directory and an environment.
#[derive(Serialize)]
struct Step<'a> {
    command: &'a super::Argv,
    dir: Option<&'a RelPath>,
    env: &'a BTreeMap<String, EnvValue>,
}

impl Config {
    /// The digest of what shapes the build. Two builds of one commit under one digest can stand in
    /// for each other.
    pub fn build_digest(&self) -> BuildDigest {
        let none = BTreeMap::new();
        let build = &self.build;
        let commands = build.commands.iter().map(|command| Step { command, dir: None, env: &none });
        let steps = build.steps.iter().map(|step| Step {
            command: &step.command,
            dir: step.dir.as_ref(),
            env: &step.env,
        });
        let shape = Shape {
            version: VERSION,
            backend: &build.backend,
            steps: commands.chain(steps).collect(),
            env: &build.env,
            files: sorted(&self.shared.files),
            build_dirs: sorted(&self.shared.build_dirs),
            dirs: sorted(&self.shared.dirs),
            settings: &build.settings,
        };
        // Texts, numbers and lists of them have a form in JSON, so this does not fail.
        let value = serde_json::to_value(shape).unwrap_or_default();
        let mut canonical = String::new();
        write(&value, &mut canonical);
        BuildDigest::of(canonical.as_bytes())
    }
}

/// The order in which they are listed does not matter.
fn sorted(paths: &[RelPath]) -> Vec<&RelPath> {
    let mut paths: Vec<&RelPath> = paths.iter().collect();
    paths.sort();
    paths
}

/// JSON with sorted keys and no white space. `serde_json` itself sorts keys only as long as no
/// crate of the program asks it to keep their order.
fn write(value: &Value, canonical: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            canonical.push('{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                canonical.push_str(if index > 0 { "," } else { "" });
                canonical.push_str(&Value::from(key.as_str()).to_string());
                canonical.push(':');
                write(value, canonical);
            }
            canonical.push('}');
        }
        Value::Array(values) => {
            canonical.push('[');
            for (index, value) in values.iter().enumerate() {
                canonical.push_str(if index > 0 { "," } else { "" });
                write(value, canonical);
            }
            canonical.push(']');
        }
        plain => canonical.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    const BASE: &str = "repo.url = \"/r\"\n";

    fn digest(text: &str) -> String {
        parse(&format!("{BASE}{text}"), "deploykit.toml".into())
            .unwrap()
            .build_digest()
            .as_str()
            .to_owned()
    }

    #[test]
    fn what_shapes_the_build_changes_the_digest() {
        let texts = [
            "",
            "build.commands = [[\"make\"]]",
            "build.commands = [[\"make\", \"all\"]]",
            "build.commands = [[\"make\"], [\"all\"]]",
            "build.commands = [[\"make all\"]]",
            "build.backend = \"other\"",
            "build.env.A = \"1\"",
            "build.env.A = \"2\"",
            "build.env.A = { env = \"1\" }",
            "build.env.A = { file = \"1\" }",
            "[[build.step]]\ncommand = [\"make\"]\ndir = \"sub\"",
            "[[build.step]]\ncommand = [\"make\"]\nenv = { A = \"1\" }",
            "shared.files = [\"x\"]",
            "shared.dirs = [\"x\"]",
            "shared.build_dirs = [\"x\"]",
            "build.settings.a = 1",
        ];
        let digests: std::collections::BTreeSet<_> =
            texts.iter().map(|text| digest(text)).collect();
        assert_eq!(digests.len(), texts.len(), "two of them have the same digest");
    }

    #[test]
    fn what_does_not_shape_the_build_leaves_the_digest() {
        for text in [
            "releases.keep = 9",
            "[[health.check]]\ntype = \"tcp\"\naddress = \"localhost:1\"",
            "systemd.unit = \"app\"",
            "build.timeout = \"1h\"",
            "repo.revision = \"main\"",
            "probation.duration = 1",
        ] {
            assert_eq!(digest(text), digest(""), "{text}");
        }
        assert_eq!(
            digest("build.commands = [[\"make\"]]"),
            digest("[[build.step]]\nname = \"n\"\ntimeout = 5\ncommand = [\"make\"]"),
        );
        assert_eq!(
            digest("shared.files = [\"a\", \"b\"]"),
            digest("shared.files = [\"b\", \"a\"]")
        );
    }

    /// A change of it makes every release of every user be built again: it must be wanted.
    #[test]
    fn the_digest_of_a_known_configuration_stays() {
        let text = "build.commands = [[\"npm\", \"ci\"]]\nbuild.env.K = { credential = \"k\" }";
        assert_eq!(
            digest(text),
            "ab0c78161138bbd27209c82aeb1c650b3c00c3d002281b21e63084d6862daa4a"
        );
    }
}
