//! Receiving objects from a server.

use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::odb::pack;
use gix::protocol::fetch::negotiate::{Action, Round, one_round};
use gix::protocol::fetch::{Arguments, Context, Negotiate, Options, Response, Shallow, Tags};

use super::progress::FetchProgress;
use super::remote::{Session, agent};

/// What is to be received.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// These objects, and what belongs to them.
    pub(crate) wants: Vec<ObjectId>,
    /// What is here already.
    pub(crate) haves: Vec<ObjectId>,
    /// Whether the history stays away.
    pub(crate) shallow: bool,
    /// Whether trees and files stay away, where the server can do that.
    pub(crate) commits_only: bool,
}

/// Receives `wanted` into `repository`, streaming to the disk.
pub(crate) fn receive(
    session: &mut Session,
    repository: &gix::Repository,
    wanted: &Wanted,
    progress: &FetchProgress,
    stop: &AtomicBool,
) -> Result<(), gix::Error> {
    let shallow = if wanted.shallow {
        Shallow::DepthAtRemote(std::num::NonZeroU32::MIN)
    } else {
        Shallow::NoChange
    };
    let options = Options {
        shallow_file: repository.shallow_file()?,
        shallow: &shallow,
        tags: Tags::None,
        reject_shallow_remote: false,
    };
    let context = Context {
        handshake: &mut session.handshake,
        transport: &mut session.transport,
        user_agent: agent(),
        trace_packetlines: false,
    };
    gix::protocol::fetch(
        &mut AllAtOnce(wanted),
        |reader, progress, stop| write_pack(repository, reader, progress, stop),
        progress.root(),
        stop,
        context,
        options,
    )?;
    Ok(())
}

fn write_pack(
    repository: &gix::Repository,
    reader: &mut dyn std::io::BufRead,
    progress: &mut dyn gix::DynNestedProgress,
    stop: &AtomicBool,
) -> gix::Result<bool> {
    let objects = repository.objects.clone();
    let directory = repository.objects.store_ref().path().join("pack");
    let options = pack::bundle::write::Options {
        // Each thread has buffers of its own; two keep the memory small and one core busy beside
        // the one that receives.
        thread_limit: Some(2),
        ..Default::default()
    };
    let written = pack::Bundle::write_to_directory(
        reader,
        Some(&directory),
        progress,
        stop,
        Some(objects),
        repository.object_hash(),
        options,
    )?;
    if let Some(keep) = written.keep_path {
        // It would keep git from tidying up; the reference that follows does its work.
        let _ = std::fs::remove_file(keep);
    }
    Ok(true)
}

/// The plainest negotiation: what is wanted and what is here are said in one request.
///
/// The cache holds a few commits without history, so there is nothing to search for in rounds.
struct AllAtOnce<'a>(&'a Wanted);

impl Negotiate for AllAtOnce<'_> {
    fn mark_complete_and_common_ref(&mut self) -> gix::Result<Action> {
        Ok(Action::MustNegotiate { remote_ref_target_known: Vec::new() })
    }

    fn add_wants(&mut self, arguments: &mut Arguments, _: &[bool]) -> bool {
        for id in &self.0.wants {
            arguments.want(id);
        }
        if self.0.commits_only && arguments.can_use_filter() {
            arguments.filter("tree:0");
        }
        !self.0.wants.is_empty()
    }

    fn one_round(
        &mut self,
        _: &mut one_round::State,
        arguments: &mut Arguments,
        _: Option<&Response>,
    ) -> gix::Result<(Round, bool)> {
        for id in &self.0.haves {
            arguments.have(id);
        }
        let count = self.0.haves.len();
        let round = Round {
            haves_sent: count,
            in_vain: 0,
            haves_to_send: count,
            previous_response_had_at_least_one_in_common: false,
        };
        Ok((round, true))
    }
}
