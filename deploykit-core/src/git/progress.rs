//! What gix counts, as events.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gix::progress::{
    Count, Id, MessageLevel, NestedProgress, Progress, Step as Number, StepShared,
};

use crate::context::Context;
use crate::event::Unit;
use crate::step::Step;

/// gix's name for the bytes of a pack that are read.
const PACK_BYTES: Id = *b"BWRB";
/// gix's name for the objects of a pack that are read.
const PACK_OBJECTS: Id = *b"IWIO";

/// A counter that gix moves and a [`Watch`](super::watch::Watch) reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauge {
    count: StepShared,
    /// 0 means that the total is not known.
    total: Arc<AtomicUsize>,
}

impl Gauge {
    /// A gauge that goes up to `total`.
    pub(crate) fn up_to(total: usize) -> Self {
        Self { count: Arc::default(), total: Arc::new(AtomicUsize::new(total)) }
    }

    fn read(&self) -> (u64, Option<u64>) {
        let total = self.total.load(Ordering::Relaxed) as u64;
        (self.count.load(Ordering::Relaxed) as u64, Some(total).filter(|total| *total > 0))
    }

    /// Something that tells of this gauge, whenever it is called and it has moved.
    pub(crate) fn sampler(
        &self,
        ctx: &Context,
        step: Step,
        unit: Unit,
    ) -> impl FnMut() + Send + use<> {
        let (gauge, ctx, mut last) = (self.clone(), ctx.clone(), (0, None));
        move || {
            let now = gauge.read();
            if now != last {
                last = now;
                ctx.progress(step, now.0, now.1, unit);
            }
        }
    }
}

impl Count for Gauge {
    fn set(&self, step: Number) {
        self.count.store(step, Ordering::Relaxed);
    }

    fn step(&self) -> Number {
        self.count.load(Ordering::Relaxed)
    }

    fn inc_by(&self, step: Number) {
        self.count.fetch_add(step, Ordering::Relaxed);
    }

    fn counter(&self) -> StepShared {
        Arc::clone(&self.count)
    }
}

/// The progress of a fetch, as gix wants it: a tree, of which two leaves are of interest.
#[derive(Debug, Clone, Default)]
pub(crate) struct FetchProgress {
    /// The bytes of the pack.
    pub(crate) bytes: Gauge,
    /// Its objects.
    pub(crate) objects: Gauge,
}

impl FetchProgress {
    /// The root of the tree.
    pub(crate) fn root(&self) -> Node {
        Node { gauges: self.clone(), gauge: Gauge::default(), id: gix::progress::UNKNOWN }
    }

    /// Something that tells of both, whenever it is called.
    pub(crate) fn sampler(&self, ctx: &Context) -> impl FnMut() + Send + use<> {
        let mut bytes = self.bytes.sampler(ctx, Step::Fetch, Unit::Bytes);
        let mut objects = self.objects.sampler(ctx, Step::Fetch, Unit::Objects);
        move || {
            bytes();
            objects();
        }
    }
}

/// One node of gix's tree.
#[derive(Debug)]
pub(crate) struct Node {
    gauges: FetchProgress,
    gauge: Gauge,
    id: Id,
}

impl Count for Node {
    fn set(&self, step: Number) {
        self.gauge.set(step);
    }

    fn step(&self) -> Number {
        self.gauge.step()
    }

    fn inc_by(&self, step: Number) {
        self.gauge.inc_by(step);
    }

    fn counter(&self) -> StepShared {
        self.gauge.counter()
    }
}

impl Progress for Node {
    fn init(&mut self, max: Option<Number>, _: Option<gix::progress::Unit>) {
        self.gauge.total.store(max.unwrap_or(0), Ordering::Relaxed);
    }

    fn set_name(&mut self, _: String) {}

    fn name(&self) -> Option<String> {
        None
    }

    fn id(&self) -> Id {
        self.id
    }

    fn message(&self, _: MessageLevel, _: String) {}
}

impl NestedProgress for Node {
    type SubProgress = Self;

    fn add_child(&mut self, name: impl Into<String>) -> Self {
        self.add_child_with_id(name, gix::progress::UNKNOWN)
    }

    fn add_child_with_id(&mut self, _: impl Into<String>, id: Id) -> Self {
        let gauge = match id {
            PACK_BYTES => self.gauges.bytes.clone(),
            PACK_OBJECTS => self.gauges.objects.clone(),
            _ => Gauge::default(),
        };
        Self { gauges: self.gauges.clone(), gauge, id }
    }
}
