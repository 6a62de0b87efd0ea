//! What the process says about itself.

use super::{Place, SUM, finish};

#[test]
fn what_a_process_says_about_itself_is_on_stderr_at_the_level_that_was_asked_for() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    let run = ["run", "add.yaml", "a=1", "b=2", "--json", "-q"];
    place.cpd(&run).exits(0);
    // An index that cannot be used is a warning.
    let spoil = || {
        let index = place.data().join("index");
        drop(std::fs::remove_dir_all(&index));
        drop(std::fs::remove_file(&index));
        std::fs::write(index, "a file").unwrap();
    };
    spoil();
    let out = place.cpd(&run).exits(0).says(&["WARN", "the index was made again from the journal"]);
    assert_eq!(out.json()["status"], "completed", "stdout has the data and nothing else");

    spoil();
    let out = place.cpd(&[&run[..], &["--log", "error"]].concat()).exits(0);
    assert_eq!(out.stderr, "");

    spoil();
    let out = place.cpd(&[&run[..], &["--log-format", "json"]].concat()).exits(0);
    let said: serde_json::Value = serde_json::from_str(out.stderr.trim()).expect("one object");
    assert_eq!((&said["level"], &said["target"]), (&"WARN".into(), &"cpd_engine::recovery".into()), "{said}");

    spoil();
    let mut command = place.command(&run);
    command.env("CPD_LOG", "off");
    assert_eq!(finish(&mut command).exits(0).stderr, "");
    place.cpd(&["runs", "--log", "loud"]).exits(2).says(&["loud", "warn"]);
}
