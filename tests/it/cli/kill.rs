//! `kill -9` of the real binary at random moments.
//!
//! Each round starts the binary over the same directory: it takes up what is open, and most rounds start a run of their
//! own. After a random time it is killed. What counts is what was acknowledged: a run whose id was printed, as it is when its
//! start is durable, must be there and end well, whatever happened between; the server's books say that no key ever stood for
//! two effects.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::server::Server;
use super::{Place, workflow};

const ROUNDS: u64 = 200;
/// A line on stderr says which run was started: the mark, and the id.
const ID_CHARS: usize = 26;

/// The ids that whole lines of the timeline give; the kill may have come in the middle of the last one.
fn told(stderr: &str) -> Vec<String> {
    let whole = stderr.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let ids = whole.lines().filter_map(|l| l.trim_start().strip_prefix("● "));
    ids.filter(|id| id.len() == ID_CHARS && !id.contains(' ')).map(str::to_owned).collect()
}

/// Splitmix64: enough to pick moments.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn seed() -> u64 {
    std::env::var("CPD_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| std::process::id().into())
}

#[test]
fn two_hundred_kills_lose_nothing_that_was_acknowledged_and_repeat_no_effect_under_another_key() {
    let seed = seed();
    println!("CPD_TEST_SEED={seed}");
    let mut random = Random(seed);
    let (server, place) = (Server::start(), Place::new());
    let tasks: String = (0..4)
        .map(|n| {
            let url = server.url(&format!("/effect/{n}"));
            format!(
                "  - effect{n}:\n      call: http\n      with:\n        method: put\n        endpoint: '{url}'\n        \
                 body: {{ round: '${{ $workflow.input.round }}', step: {n} }}\n      output: {{ as: '{{ step: {n} }}' }}\n"
            )
        })
        .collect();
    let file = place.write("effects.yaml", workflow("effects", &tasks));
    place.cpd(&["register", file.to_str().expect("UTF-8")]).exits(0);

    // Kills fall evenly into the time from the start of a process to somewhat after its end, however fast this machine is now.
    let begin = Instant::now();
    place.cpd(&["run", "effects", "round=-1", "--quiet"]).exits(0);
    let life_max = begin.elapsed() * 3 / 2;

    let mut acknowledged = BTreeMap::new();
    let (mut killed, mut ended, mut broken_off) = (0, 0, 0);
    for round in 0..ROUNDS {
        let input = format!("round={round}");
        let key = format!("round-{round}");
        // Now and then a start that drives nothing: it is acknowledged before anything has happened.
        let detach = random.next().is_multiple_of(3);
        let mut args = vec!["run", "effects", &*input, "--key", &*key, "--json"];
        if detach {
            args.push("--detach");
        }
        let mut running = place.start(&args);
        let life = Duration::from_micros(random.next() % u64::try_from(life_max.as_micros()).expect("small"));
        let out = if running.ends_within(life) {
            ended += 1;
            let out = running.wait().exits(0);
            assert_eq!(out.lines().len(), 1, "{out:?}");
            out
        } else {
            killed += 1;
            running.kill()
        };
        assert!(!out.stderr.contains("panicked"), "round {round}: {out:?}");
        // A whole line is an acknowledgement; the kill may have come in the middle of one.
        if out.stdout.ends_with('\n') {
            let id = out.lines()[0]["runId"].as_str().expect("an id").to_owned();
            assert!(told(&out.stderr).iter().all(|told| *told == id), "round {round}: {out:?}");
            acknowledged.insert(round, id);
        } else if let [id] = &*told(&out.stderr) {
            broken_off += 1;
            acknowledged.insert(round, id.clone());
        }
    }
    let count = acknowledged.len();
    println!("{killed} killed, {ended} came to their end, {count} acknowledged, {broken_off} of them before a kill");
    assert!(broken_off >= ROUNDS / 20, "the moments are too early to mean anything: {broken_off} runs were broken off");
    assert!(killed >= ROUNDS / 4, "the moments are too late to mean anything: {killed} of {ROUNDS} were killed");

    // One start more drives everything that is open; nothing is asked of an operator, so nothing may be left.
    let open = |what: &str| -> Vec<String> {
        let rows = place.cpd(&["runs", "--json", "--limit", "100000", "--status", what]).exits(0).lines();
        rows.iter().map(|r| r["runId"].as_str().expect("an id").to_owned()).collect()
    };
    for id in open("open") {
        place.cpd(&["resume", &id, "--quiet", "--json"]).exits(0);
    }
    assert_eq!(open("open"), Vec::<String>::new(), "a run stalls");
    let completed: BTreeSet<String> = open("completed").into_iter().collect();
    for (round, id) in &acknowledged {
        assert!(completed.contains(id), "round {round}: run {id} was acknowledged and is not completed");
        // The key still finds the run that was acknowledged for it.
        assert!(
            round % 20 != 0 || {
                let key = format!("round-{round}");
                let input = format!("round={round}");
                let again = place.cpd(&["run", "effects", &input, "--key", &key, "--json", "--quiet"]).exits(0);
                again.json()["runId"] == id.as_str()
            }
        );
    }

    // Each run had each of its four effects, each under a key that stands for nothing else.
    let effects = server.effects();
    assert_eq!(server.keyless(), Vec::<String>::new());
    for (key, effect) in &effects {
        assert_eq!(effect.what.len(), 1, "key {key} stands for several effects: {effect:?}");
    }
    let mut whats = BTreeSet::new();
    for effect in effects.values() {
        let what = effect.what.first().expect("an effect");
        assert!(whats.insert(what.clone()), "{what} happened under two keys");
    }
    assert_eq!(effects.len(), completed.len() * 4, "four effects for each completed run");
    let repeated = effects.values().filter(|e| e.calls > 1).count();
    println!("{} effects, {repeated} of them asked for again under the same key", effects.len());

    for id in completed.iter().take(20) {
        place.cpd(&["replay", id, "--quiet"]).exits(0);
    }
    place.cpd(&["audit", "verify"]).exits(0);
}
