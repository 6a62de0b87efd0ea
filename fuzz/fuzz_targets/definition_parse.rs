//! Documents, from any text to a plan or diagnostics.
//!
//! Holds: no panic; errors if and only if there is no plan; every place lies in the source; the same text, the same digest.
#![no_main]

use cpd_core::definition::{Severity, alias_of, compile, duration, kind_of, read_value};
use cpd_fuzz::documents::World;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(source) = std::str::from_utf8(data) else { return Corpus::Reject };
    let _ = kind_of(source, "fuzz.yaml");
    let _ = read_value(source, "fuzz.yaml");
    let _ = alias_of(source);
    let _ = duration::from_text(source);
    let found = match compile(source, "fuzz.yaml", World::get()) {
        Ok(compiled) => {
            let again = compile(source, "fuzz.yaml", World::get()).expect("what compiles, compiles again");
            assert_eq!(compiled.plan.digest, again.plan.digest);
            assert!(compiled.warnings.iter().all(|d| d.severity == Severity::Warning));
            compiled.warnings
        }
        Err(found) => {
            assert!(found.iter().any(|d| d.severity == Severity::Error), "refused without an error");
            found
        }
    };
    for diagnostic in &found {
        if let Some(span) = diagnostic.span {
            assert!(span.start <= span.end && span.end <= source.len(), "{diagnostic:?}");
        }
        assert!(!diagnostic.message.is_empty());
        assert!(diagnostic.render().contains(&diagnostic.message[..1]));
    }
    Corpus::Keep
});
