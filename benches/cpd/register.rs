//! Definitions: what reading, linting and registering one costs. The target is 20 ms for 200 tasks.

use std::time::{Duration, Instant};

use cpd_core::definition::lint;
use cpd_core::definition::lint::allow::{Levels, judge};
use cpd_core::definition::yaml;
use cpd_engine::{Engine, Registry};

use crate::job::runtime;
use crate::meter::{Report, fresh_dir, quantile};

/// A definition of about so many tasks of all usual kinds, with expressions, a retry, and comments.
fn definition(tasks: usize, version: usize) -> String {
    let mut out = format!(
        "document: {{ dsl: '1.0.3', namespace: bench, name: large, version: '1.0.{version}' }}
timeout: {{ after: P1D }}
use:
  retries:
    transient: {{ when: '$error.status >= 500', delay: PT1S, backoff: {{ exponential: {{}} }}, limit: {{ attempt: {{ count: 5 }} }} }}
do:
"
    );
    for i in 0..tasks.div_ceil(10) {
        out.push_str(&format!(
            "  - begin{i}:
      set: {{ n: '${{ .n // 0 }}', items: '${{ [ .items[]? | select(.ok) ] }}', label: 'part {i}' }}
      export: {{ as: '$context + {{ part{i}: .label }}' }}
  - fetch{i}:
      try:
        - ask{i}:
            call: http
            with: {{ method: get, endpoint: 'https://example.com/{{n}}', query: {{ part: '${{ $context.part{i} }}' }} }}
            timeout: {{ after: PT30S }}
      catch: {{ errors: {{ with: {{ status: 503 }} }}, retry: transient }}
      output: {{ as: '{{ n: $input.n, items: $input.items, answer: . }}' }}
  - route{i}:
      switch:
        - large: {{ when: '.n > 100 and (.items | length) > 3', then: large{i} }}
        - otherwise: {{ then: each{i} }}
  - large{i}:
      # cpd: allow(several-results) the first one is enough
      set: {{ n: '${{ .items[].n }}', items: '${{ .items }}' }}
  - each{i}:
      for: {{ each: item, in: .items }}
      do:
        - sum{i}: {{ set: {{ n: '${{ (.n // 0) + $item.n }}', items: '${{ .items }}' }} }}
  - both{i}:
      fork:
        branches:
          - left{i}: {{ set: {{ side: '${{ \"left \\(.n)\" }}' }} }}
          - right{i}: {{ set: {{ side: '${{ .items | map(.n) | add }}' }} }}
      output: {{ as: '{{ n: 1, items: [] }}' }}
"
        ));
    }
    out
}

/// Reading, checking and linting, and registering.
pub fn register(report: &mut Report) {
    report.part("Definitions of 20, 200 and 1,000 tasks, the fastest of 20: reading, checking, advice; registering until durable");
    for tasks in [20usize, 200, 1_000] {
        let dir = fresh_dir();
        runtime().block_on(async {
            let engine = Engine::builder(dir.path())
                .connectors(cpd::wiring::known(&cpd::config::Config::default()).expect("connectors"))
                .open()
                .await
                .expect("an engine");
            let registry = Registry::empty()
                .with_connectors(cpd::wiring::known(&cpd::config::Config::default()).expect("connectors"));
            let (mut read, mut check, mut advise, mut register) = (vec![], vec![], vec![], vec![]);
            for version in 0..20 {
                let source = definition(tasks, version);
                let timed = |times: &mut Vec<Duration>, begin: Instant| times.push(begin.elapsed());
                let begin = Instant::now();
                yaml::parse(&source).expect("YAML");
                timed(&mut read, begin);
                let begin = Instant::now();
                let checked = registry.check_and_keep(&source, "large.yaml").await.expect("it is right");
                timed(&mut check, begin);
                let plan = registry.workflow(&format!("bench/large:1.0.{version}")).expect("it is kept");
                let begin = Instant::now();
                let found = lint::workflow(&source, "large.yaml", &plan);
                let verdict = judge(&source, "large.yaml", [checked.warnings, found].concat(), &Levels::default());
                timed(&mut advise, begin);
                assert!(verdict.found.is_empty(), "{:?}", verdict.found);
                assert_eq!(verdict.allowed.len(), tasks.div_ceil(10));
                let begin = Instant::now();
                engine.register(&source, "large.yaml").await.expect("it registers");
                timed(&mut register, begin);
            }
            let figures: Vec<(&str, f64, &str)> =
                [("yaml", &mut read), ("check", &mut check), ("lint", &mut advise), ("register", &mut register)]
                    .into_iter()
                    .map(|(name, times)| {
                        times.sort();
                        (name, quantile(times, 0.0), "ms")
                    })
                    .collect();
            report.line(&format!("{tasks} tasks"), &figures);
            engine.stop().await.expect("a stop");
        });
    }
}
