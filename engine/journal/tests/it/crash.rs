//! Crashes: a disk that fails at any operation, a process that is killed, a loss of power. The model is a list of what was acknowledged, and the group
//! that was under way.
//!
//! After each reopening the journal holds exactly what was acknowledged, and behind it a beginning of the group under way, whole entries only.

use std::io::ErrorKind;
use std::sync::Arc;

use cpd_journal::files::{Files, SimFiles};
use cpd_journal::{Error, Lsn, Options};
use proptest::prelude::*;

use crate::kit::{Bench, Shape, expected, small};

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A group of entries: the stream, and the sizes of the records.
    Append(Vec<(u8, Vec<usize>)>),
    /// Pruning up to a part of the records, in percent.
    Prune(u64),
    Close,
    Kill,
    PowerLoss(u64),
    /// The n-th operation from now fails.
    Fail(u64, ErrorKind),
    /// A kill, and a start whose n-th operation fails.
    FailOpening(u64),
    /// So many bytes are left.
    Room(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let sizes = prop::collection::vec(prop_oneof![3 => 0..60usize, 1 => 400..900usize], 1..4);
    let group = prop::collection::vec((0..4u8, sizes), 1..4);
    let kind = prop_oneof![Just(ErrorKind::Other), Just(ErrorKind::StorageFull)];
    prop_oneof![
        12 => group.prop_map(Step::Append),
        1 => (0..100u64).prop_map(Step::Prune),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(Step::PowerLoss),
        2 => (1..12u64, kind).prop_map(|(n, kind)| Step::Fail(n, kind)),
        1 => (1..8u64).prop_map(Step::FailOpening),
        1 => (0..3000u64).prop_map(Step::Room),
    ]
}

/// The journal under test and what it should hold.
struct World {
    files: SimFiles,
    options: Options,
    bench: Option<Bench>,
    /// Acknowledged and not pruned.
    kept: Vec<Shape>,
    /// The groups that were tried since the last success, each with an open end. At most one of them may be there.
    under_way: Vec<Vec<Shape>>,
    /// Pruning was tried and may have got that far: the number of entries that may be gone.
    prunable: usize,
}

impl World {
    fn new(options: Options) -> Self {
        let files = SimFiles::new();
        let bench = Bench::open(&layer(&files), options.clone()).expect("a new journal");
        Self { files, options, bench: Some(bench), kept: Vec::new(), under_way: Vec::new(), prunable: 0 }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Append(group) => self.append(group),
            Step::Prune(percent) => self.prune(*percent),
            Step::Close => {
                if let Some(bench) = self.bench.take()
                    && bench.log.close().is_ok()
                {
                    // Closing proves the end: nothing that failed before may come back, and nothing may be missing.
                    self.under_way.clear();
                }
                self.reopen(self.files.process_kill());
            }
            Step::Kill => self.reopen(self.files.process_kill()),
            Step::PowerLoss(seed) => self.reopen(self.files.power_loss(*seed)),
            Step::Fail(n, kind) => self.files.fail_nth(*n, *kind),
            Step::FailOpening(n) => {
                self.bench = None;
                let files = self.files.process_kill();
                files.set_capacity(None);
                files.fail_nth(*n, ErrorKind::Other);
                drop(Bench::open(&layer(&files), self.options.clone()));
                self.reopen(files.process_kill());
            }
            Step::Room(bytes) => self.files.set_capacity(Some(self.files.used() + bytes)),
        }
    }

    fn append(&mut self, group: &[(u8, Vec<usize>)]) {
        let Some(bench) = &mut self.bench else { return };
        let what: Vec<_> = group.iter().map(|(of, sizes)| (*of, &sizes[..])).collect();
        let (shapes, poisoned) = (planned(bench, &what), bench.log.poisoned().is_some());
        match bench.append_group(&what) {
            Ok(receipts) => {
                assert!(!poisoned, "something was written after a failure");
                assert_eq!(receipts.len(), what.len());
                self.kept.extend(shapes);
                self.under_way.clear();
            }
            Err(Error::Poisoned { .. }) => assert!(poisoned),
            Err(error) => {
                assert!(error.is_no_space() || bench.log.poisoned().is_some(), "{error:?}");
                self.under_way.push(shapes);
            }
        }
    }

    fn prune(&mut self, percent: u64) {
        let Some(bench) = &mut self.bench else { return };
        let (first, next) = (bench.recovered.first.0, bench.log.next().0);
        let before = Lsn(first + (next - first) * percent / 100);
        // Counted in entries that lie before it as a whole.
        let mut lsn = next - self.kept.iter().map(|shape| shape.2.len() as u64).sum::<u64>();
        let mut prunable = 0;
        for shape in &self.kept {
            lsn += shape.2.len() as u64;
            prunable += usize::from(lsn <= before.0);
        }
        self.prunable = self.prunable.max(prunable);
        // Whether it worked is told by what is there when the journal is opened again.
        drop(bench.log.prune(before));
    }

    /// Opens what the crash has left, with a disk that works, and compares.
    fn reopen(&mut self, files: SimFiles) {
        self.bench = None;
        files.set_capacity(None);
        self.files = files;
        let bench =
            Bench::open(&layer(&self.files), self.options.clone()).expect("a crash leaves a journal that opens");
        let found = &bench.acknowledged;
        self.under_way.push(Vec::new());
        let gone = self.under_way.iter().find_map(|tried| {
            let possible = [&self.kept[..], tried].concat();
            (0..=self.prunable).find(|&gone| possible[gone..].starts_with(found))
        });
        let Some(gone) = gone else { panic!("found {found:#?}\nof {:#?}\nand {:#?}", self.kept, self.under_way) };
        assert!(
            gone + found.len() >= self.kept.len(),
            "acknowledged entries are lost: {} of {}",
            found.len(),
            self.kept.len()
        );
        let chained = bench.log.reader();
        for chain in bench.chains.values() {
            match chained.history(chain.last()) {
                Ok(history) => assert!(!history.is_empty()),
                Err(error) => assert!(matches!(error, Error::Pruned { .. }), "{error}"),
            }
        }
        self.kept = found.clone();
        self.under_way.clear();
        self.prunable = 0;
        self.bench = Some(bench);
    }
}

fn layer(files: &SimFiles) -> Arc<dyn Files> {
    Arc::new(files.clone())
}

/// What a group will read back as.
fn planned(bench: &Bench, what: &[(u8, &[usize])]) -> Vec<Shape> {
    let mut chains = bench.chains.clone();
    what.iter()
        .map(|&(of, sizes)| {
            let chain = chains.entry(of).or_insert_with(|| cpd_journal::Chain::start(crate::kit::stream(of)));
            let (entry, next) = crate::kit::entry(chain, sizes);
            *chain = next;
            expected(&entry, sizes)
        })
        .collect()
}

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(300), max_shrink_iters: 2000, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nothing_acknowledged_is_lost_and_nothing_is_invented(steps in prop::collection::vec(step(), 1..60), last in any::<u64>()) {
        let mut world = World::new(small());
        steps.iter().for_each(|step| world.step(step));
        world.step(&Step::PowerLoss(last));
        world.step(&Step::Append(vec![(1, vec![1])]));
        world.step(&Step::Close);
        prop_assert_eq!(world.bench.expect("it was reopened").recovered.cut, None);
    }

    #[test]
    fn segments_filled_ahead_by_a_thread_survive_the_same(steps in prop::collection::vec(step(), 1..40), last in any::<u64>()) {
        let mut world = World::new(Options { fill_ahead: true, segment_bytes: 8192, ..small() });
        steps.iter().for_each(|step| world.step(step));
        world.step(&Step::PowerLoss(last));
    }
}

/// Found by the properties above: a start that fails in the middle, another that does not, and then the power goes.
#[test]
fn a_start_that_failed_takes_nothing_away_from_the_next_one() {
    use Step::{Append, Fail, FailOpening, Kill, PowerLoss};
    let mut world = World::new(small());
    for step in [
        Append(vec![(2, vec![493, 12]), (3, vec![635]), (3, vec![640, 25, 520])]),
        Fail(4, ErrorKind::StorageFull),
        Append(vec![(3, vec![47, 33, 833])]),
        Append(vec![(3, vec![30])]),
        FailOpening(3),
        PowerLoss(14214888610393131516),
        Append(vec![(3, vec![14]), (2, vec![35])]),
        Kill,
        PowerLoss(14834898410875017241),
    ] {
        world.step(&step);
    }
}

/// A fixed life of a journal: groups, a pruning, a reopening, enough for several segments.
fn life(world: &mut World) {
    for i in 0..14 {
        world.step(&Step::Append(vec![(1, vec![300, i]), (2, vec![10]), (1, vec![i, 200])]));
        if i == 9 {
            world.step(&Step::Prune(50));
        }
    }
}

#[test]
fn a_disk_that_goes_away_at_any_operation_loses_nothing_acknowledged() {
    let operations = {
        let mut world = World::new(small());
        life(&mut world);
        world.files.counts().all
    };
    assert!(operations > 40, "{operations}");
    for n in 1..=operations {
        for crash in 0..8 {
            let mut world = World::new(small());
            world.files.fail_from(n, ErrorKind::Other);
            life(&mut world);
            match crash {
                0 => world.step(&Step::Kill),
                seed => world.step(&Step::PowerLoss(seed * 1000 + n)),
            }
            world.step(&Step::Append(vec![(3, vec![5])]));
            world.step(&Step::Kill);
        }
    }
}

#[test]
fn a_disk_that_fails_at_any_operation_while_opening_can_be_opened_afterwards() {
    let mut world = World::new(small());
    life(&mut world);
    let kept = world.kept.clone();
    let crashed = world.files.power_loss(3);
    for n in 1.. {
        let files = crashed.process_kill();
        files.fail_nth(n, ErrorKind::Other);
        let opened = Bench::open(&layer(&files), small());
        let failed = opened.is_err();
        drop(opened);
        let bench = Bench::open(&layer(&files.power_loss(n)), small()).expect("the journal");
        assert!(kept.ends_with(&bench.acknowledged) && bench.acknowledged.last() == kept.last());
        if !failed && files.counts().all < n {
            break;
        }
    }
}

#[test]
fn creating_a_journal_fails_at_any_operation_without_harm() {
    for n in 1.. {
        let files = SimFiles::new();
        files.fail_nth(n, ErrorKind::Other);
        let failed = Bench::open(&layer(&files), small()).is_err();
        let mut bench = Bench::open(&layer(&files.power_loss(n)), small()).expect("a journal");
        bench.append(1, &[1]).expect("an append");
        if !failed && files.counts().all < n {
            assert!(n > 5);
            break;
        }
    }
}
