//! The commands, each in the file of its group.

mod config;
mod deploy;
mod generate;
mod import;
mod init;
mod look;
mod notify;
mod operate;
mod releases;
mod service;
mod supervise;
mod uninstall;
mod unit;
mod up;

use crate::args::{Command, ImportCommand};
use crate::exit::Exit;
use crate::render::error::CliError;
use crate::shell::Shell;
use supervise::Wish;

/// Runs a command.
pub(crate) fn run(shell: &mut Shell, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => init::init(shell, args.url.as_deref()),
        Command::Deploy(args) => deploy::deploy(shell, &args),
        Command::Rollback(args) => deploy::rollback(shell, &args),
        Command::Restart(args) if args.of.is_empty() => deploy::restart(shell, &args),
        Command::Restart(args) => supervise::want(shell, Wish::Restart, &args.of),
        Command::Reload(args) => deploy::reload(shell, &args),
        Command::Up(args) => up::up(shell, &args),
        Command::Down(args) => supervise::down(shell, &args),
        Command::Ps => supervise::ps(shell),
        Command::Start(args) => supervise::want(shell, Wish::Start, &args.of),
        Command::Stop(args) => supervise::want(shell, Wish::Stop, &args.of),
        Command::Retry(args) => supervise::want(shell, Wish::Retry, &args.of),
        Command::Signal(args) => supervise::signal(shell, &args),
        Command::Plan(args) => look::plan(shell, &args),
        Command::Status => look::status(shell),
        Command::Resolve { revision } => look::resolve(shell, &revision),
        Command::List => releases::list(shell),
        Command::History { number } => releases::history(shell, number),
        Command::Show { id } => releases::show(shell, id),
        Command::Confirm => operate::confirm(shell),
        Command::Hold { reason } => operate::hold(shell, &reason),
        Command::Unhold => operate::unhold(shell),
        Command::Check => service::check(shell),
        Command::Logs(args) => service::logs(shell, args),
        Command::Unit { what } => unit::unit(shell, &what),
        Command::Recover => operate::recover(shell),
        Command::Prune => operate::prune(shell),
        Command::Notify { to } => notify::notify(shell, &to),
        Command::Config { what } => config::config(shell, what),
        Command::Import { what: ImportCommand::Angelize { files } } => {
            import::angelize(shell, &files)
        }
        Command::Uninstall { to_mfd, yes } => uninstall::uninstall(shell, to_mfd, yes),
        Command::Completions { shell: kind } => generate::completions(shell, kind),
        Command::Man { dir } => generate::man(shell, dir.as_deref()),
    }
}
