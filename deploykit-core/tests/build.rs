//! The builder `commands`, with real commands.

use std::sync::{Arc, Mutex};

use camino::Utf8PathBuf;
use deploykit_core::config::Config;
use deploykit_core::process::{self, Exit};
use deploykit_core::traits::{BuildError, BuildRequest, Builder};
use deploykit_core::{
    BackendRequest, Cause, Context, Event, EventKind, FnSink, Layout, Masker, Registry, Secret,
};

struct Bench {
    _directory: tempfile::TempDir,
    root: Utf8PathBuf,
    builder: Arc<dyn Builder>,
    request: BuildRequest,
    context: Context,
    output: Arc<Mutex<Vec<String>>>,
}

fn bench(config: &str) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let app = Utf8PathBuf::from_path_buf(directory.path().canonicalize().unwrap()).unwrap();
    let root = app.join("releases/one");
    std::fs::create_dir_all(&root).unwrap();
    let config: Config = toml::from_str(&format!("repo.url = \"/srv/git\"\n{config}")).unwrap();
    let (layout, masker) = (Layout::new(app.clone()), Masker::default());
    let request = BackendRequest::new(&config, &layout, &masker);
    let builder = Registry::built_in().make_builder("commands", &request).unwrap();
    let source = format!("git:{}", "ab".repeat(20)).parse().unwrap();
    let marker = ("DEPLOYKIT_BUILD".to_owned(), app.file_name().unwrap().to_owned());
    let request = BuildRequest::new("one".parse().unwrap(), source, root.clone(), marker);
    let output = Arc::new(Mutex::new(Vec::new()));
    let sink = output.clone();
    let context = Context::new().unwrap().with_masker(masker).with_sink(Arc::new(FnSink::new(
        move |event: &Event| {
            if let EventKind::Output { name, line, .. } = &event.kind {
                sink.lock().unwrap().push(format!("{name}> {line}"));
            }
        },
    )));
    Bench { _directory: directory, root, builder, request, context, output }
}

impl Bench {
    fn build(&self) -> Result<(), BuildError> {
        self.builder.build(&self.context, &self.request)
    }

    fn output(&self) -> Vec<String> {
        self.output.lock().unwrap().clone()
    }
}

#[test]
fn commands_run_in_order_in_the_release() {
    let bench =
        bench("build.commands = [[\"sh\", \"-c\", \"pwd; echo 1 > made\"], [\"cat\", \"made\"]]");
    bench.build().unwrap();
    let root = &bench.root;
    assert_eq!(
        bench.output(),
        [format!("sh -c 'pwd; echo 1 > made'> {root}"), "cat made> 1".to_owned()]
    );
    assert_eq!(bench.builder.steps(), ["sh -c 'pwd; echo 1 > made'", "cat made"]);
}

#[test]
fn a_failed_step_ends_the_build_with_the_end_of_its_output() {
    let bench = bench(
        "[[build.step]]\nname = \"compile\"\ncommand = [\"sh\", \"-c\", \"seq 30; exit 7\"]\n\
         [[build.step]]\ncommand = [\"touch\", \"later\"]",
    );
    let error = bench.build().unwrap_err();
    assert_eq!(error.to_string(), "build step \"compile\" exited with code 7");
    assert!(matches!(&error, BuildError::Failed { exit: Exit::Code(7), .. }));
    assert_eq!((error.tail().len(), error.tail()[19].as_str()), (20, "30"));
    assert!(!bench.root.join("later").exists());
}

#[test]
fn a_step_has_the_configured_environment_and_no_secret_that_was_not_meant_for_it() {
    // Cargo sets these for every test; here they stand for a token and for a build secret.
    let bench = bench(
        "repo.token = { env = \"CARGO_PKG_NAME\" }\n\
         [build.env]\nWORD = \"of all\"\nOTHER = \"of all\"\n\
         [[build.step]]\nname = \"env\"\ncommand = [\"env\"]\n\
         env = { WORD = \"of the step\", KEY = { env = \"CARGO_PKG_DESCRIPTION\" } }",
    );
    assert!(std::env::var("CARGO_PKG_NAME").is_ok());
    bench.build().unwrap();
    let output = bench.output();
    let value = |name: &str| {
        let wanted = format!("env> {name}=");
        output.iter().find_map(|line| line.strip_prefix(&wanted)).map(str::to_owned)
    };
    assert_eq!(value("CARGO_PKG_NAME"), None);
    assert_eq!(value("CARGO_PKG_DESCRIPTION"), None);
    assert_eq!(value("KEY").as_deref(), Some("***"));
    assert_eq!(value("WORD").as_deref(), Some("of the step"));
    assert_eq!(value("OTHER").as_deref(), Some("of all"));
    assert_eq!(value("DEPLOYKIT_RELEASE").as_deref(), Some("one"));
    assert_eq!(value("DEPLOYKIT_REVISION"), Some("ab".repeat(20)));
    assert_eq!(value("DEPLOYKIT_ROOT"), Some(bench.root.to_string()));
    assert_eq!(value("DEPLOYKIT_APP"), bench.root.ancestors().nth(2).map(ToString::to_string));
    assert_eq!(value("DEPLOYKIT_BUILD"), Some(bench.request.marker.1));
    assert_eq!(value("PATH"), std::env::var("PATH").ok());
}

#[test]
fn a_secret_of_the_environment_lies_below_the_application_and_a_missing_one_has_a_hint() {
    let bench = bench(
        "build.commands = [[\"sh\", \"-c\", \"test $KEY = s3cret-key\"]]\n[build.env]\nKEY = { file = \"key\" }",
    );
    let error = bench.build().unwrap_err();
    assert!(error.to_string().contains("KEY") && error.to_string().contains("key"), "{error}");
    let app = bench.root.ancestors().nth(2).unwrap();
    std::fs::write(app.join("key"), "s3cret-key\n").unwrap();
    bench.build().unwrap();

    let bench = self::bench(
        "build.commands = [[\"true\"]]\n[build.env]\nKEY = { env = \"NOT_SET_ANYWHERE\" }",
    );
    let hint = bench.build().unwrap_err().hint().unwrap();
    assert!(hint.contains("export NOT_SET_ANYWHERE="), "{hint}");
}

#[test]
fn a_secret_in_the_output_is_masked_in_events_and_errors() {
    let bench = bench("build.commands = [[\"sh\", \"-c\", \"echo hunter2-hunter2; exit 1\"]]");
    bench.context.masker().learn(&Secret::new("hunter2-hunter2"));
    let error = bench.build().unwrap_err();
    assert_eq!(error.tail(), ["***"]);
    assert!(bench.output()[0].ends_with("> ***"));
}

#[test]
fn a_directory_must_exist_and_stay_in_the_release() {
    let bench = bench("[[build.step]]\nname = \"s\"\ncommand = [\"pwd\"]\ndir = \"sub/dir\"");
    let error = bench.build().unwrap_err();
    assert!(matches!(error, BuildError::Precondition { .. }));
    assert!(error.to_string().contains("sub/dir: No such file"), "{error}");
    std::fs::create_dir(bench.root.join("sub")).unwrap();
    std::os::unix::fs::symlink("/tmp", bench.root.join("sub/dir")).unwrap();
    let error = bench.build().unwrap_err();
    assert!(error.to_string().contains("leads out of the release"), "{error}");
    std::fs::remove_file(bench.root.join("sub/dir")).unwrap();
    std::fs::write(bench.root.join("sub/dir"), "").unwrap();
    assert!(bench.build().unwrap_err().to_string().contains("is no directory"));
    std::fs::remove_file(bench.root.join("sub/dir")).unwrap();
    std::fs::create_dir(bench.root.join("sub/dir")).unwrap();
    bench.build().unwrap();
    assert_eq!(bench.output(), [format!("s> {}/sub/dir", bench.root)]);
}

#[test]
fn a_missing_secret_and_a_missing_program_are_explained() {
    let lacking =
        bench("build.env.KEY = { env = \"DEPLOYKIT_TEST_UNSET\" }\nbuild.commands = [[\"x\"]]");
    let error = lacking.build().unwrap_err();
    assert!(error.to_string().contains("the variable KEY: "), "{error}");
    assert!(error.to_string().contains("DEPLOYKIT_TEST_UNSET"), "{error}");
    let bench = bench("build.commands = [[\"no-such-program-at-all\"]]");
    let error = bench.build().unwrap_err();
    assert!(matches!(error, BuildError::Process { .. }));
    assert!(error.hint().unwrap().contains(&std::env::var("PATH").unwrap()));
}

#[test]
fn a_step_that_takes_too_long_is_ended() {
    let bench = bench("build.timeout = \"100ms\"\nbuild.commands = [[\"sleep\", \"1000\"]]");
    assert!(matches!(bench.build(), Err(BuildError::TimedOut { .. })));
}

#[test]
fn after_a_cancellation_no_process_of_the_build_is_left() {
    let bench = bench(
        "build.commands = [[\"sh\", \"-c\", \"setsid sleep 1000 & touch started; sleep 1000\"]]",
    );
    let cancellation = bench.context.cancellation().clone();
    let started = bench.root.join("started");
    let thread = std::thread::spawn(move || {
        while !started.exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        cancellation.cancel(Cause::Interrupt);
    });
    assert!(matches!(bench.build(), Err(BuildError::Cancelled(c)) if c.0 == Cause::Interrupt));
    thread.join().unwrap();
    let (name, value) = &bench.request.marker;
    assert_eq!(process::marked(name, value).unwrap(), []);
}
