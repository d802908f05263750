//! The sockets of services: each is opened once, stays open as long as anybody is to have it, and is shared
//! by all who have.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::instance::Instance;
use super::run::Loop;
use crate::definition::Definition;
use crate::hold::Holder;
use crate::listen::{Address, why};
use crate::machine::Phase;
use crate::spawn::Passed;

/// Sockets that are open, by their address.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: BTreeMap<String, OwnedFd>,
    /// Who else holds them, for whoever comes after this manager.
    pub(super) holder: Option<Arc<Holder>>,
}

/// What they are called there.
const HELD: &str = "socket ";

impl Sockets {
    /// Those of an instance, in their order; opened where they are not yet. The error is why not, in words.
    pub(super) fn of(&mut self, definition: &Definition) -> Result<Vec<Passed>, String> {
        let name = format!("{}.socket", definition.service);
        let one = |address: &String| {
            let socket = self.open(address).and_then(|socket| socket.try_clone());
            let socket = socket
                .map_err(|error| format!("cannot listen on {address}: {}", why(address, &error)))?;
            Ok(Passed { name: name.clone(), socket })
        };
        definition.listen.iter().map(one).collect()
    }

    fn open(&mut self, text: &str) -> io::Result<&OwnedFd> {
        if !self.is_open(text) {
            let address = Address::parse(text).ok_or(io::ErrorKind::InvalidInput)?;
            self.adopt(text, address.open()?);
        }
        self.open.get(text).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whether it is open, or can be.
    pub(super) fn try_open(&mut self, text: &str) -> io::Result<()> {
        self.open(text).map(drop)
    }

    pub(super) fn is_open(&self, text: &str) -> bool {
        self.open.contains_key(text)
    }

    /// Takes over one that was open before.
    pub(super) fn adopt(&mut self, text: &str, socket: OwnedFd) {
        if let Some(holder) = &self.holder {
            holder.keep(&format!("{HELD}{text}"), &socket);
        }
        self.open.entry(text.to_owned()).or_insert(socket);
    }

    /// Takes over those that are held for it.
    pub(super) fn take_held(&mut self) {
        let Some(holder) = &self.holder else { return };
        let held = holder.held(HELD).into_iter();
        self.open.extend(
            held.filter_map(|(name, socket)| Some((name.strip_prefix(HELD)?.to_owned(), socket))),
        );
    }

    /// All that are open, once more.
    pub(super) fn all(&self) -> Vec<OwnedFd> {
        self.open.values().filter_map(|socket| socket.try_clone().ok()).collect()
    }

    /// Closes all others: whoever connects is refused, instead of waiting for nobody.
    fn keep_only(&mut self, wanted: &BTreeSet<String>) {
        let holder = self.holder.as_ref();
        let before = self.open.len();
        self.open.retain(|text, _| {
            let is_wanted = wanted.contains(text);
            if let (false, Some(address)) = (is_wanted, Address::parse(text)) {
                address.clear();
                if let Some(holder) = holder {
                    holder.let_go_of(&format!("{HELD}{text}"));
                }
            }
            is_wanted
        });
        // Whoever is told that a service is stopped finds its sockets closed.
        if let Some(holder) = holder.filter(|_| self.open.len() < before) {
            holder.answers();
        }
    }
}

impl Loop {
    /// Closes sockets that nobody has, and nobody is about to have.
    pub(super) fn close_sockets(&mut self) {
        if self.sockets.open.is_empty() {
            return;
        }
        // What is left for good accepts nobody any more.
        let has = |one: &&Instance| {
            let is_down = matches!(one.machine.phase, Phase::Down(_));
            !one.leaving && (one.is_alive() || one.again || !is_down)
        };
        let of = |one: &Instance| {
            // One that runs on has those that it was started with.
            let runs = one.process.is_some();
            let next = one.next.as_ref().filter(|_| one.again || !runs);
            let now = Some(&one.definition).filter(|_| runs || next.is_none());
            now.into_iter().chain(next).flat_map(|it| it.listen.clone()).collect::<Vec<_>>()
        };
        let wanted: BTreeSet<String> = self.instances.values().filter(has).flat_map(of).collect();
        self.sockets.keep_only(&wanted);
    }
}
