use cpd_connector_api::{Class, Outcome, json};
use cpd_engine::{
    Engine,
    operation::{Operations, spec},
};
use std::time::Instant;
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let conc: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let payload = cpd_core::Value::from("x".repeat(190));
    let ops = Operations::new("bench").operation(spec("bench.step", Class::Idempotent, "s"), move |_r| {
        let p = payload.clone();
        async move { Outcome::succeeded(json!({"r": p.as_str().unwrap()})) }
    });
    let e = Engine::builder(dir.path()).connector(ops).open().await.unwrap();
    e.register(r#"{"ops":["bench.step","bench.step","bench.step"]}"#, "x.yaml").await.unwrap();
    let t = Instant::now();
    let next = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut hs = vec![];
    for _ in 0..conc {
        let e = e.clone();
        let next = next.clone();
        hs.push(tokio::spawn(async move {
            let mut l = vec![];
            while next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < n {
                let t = Instant::now();
                let h = e.start("job").input(json!({})).go().await.unwrap();
                let r = h.result().await.unwrap();
                assert_eq!(r.status(), "completed");
                l.push(t.elapsed());
            }
            l
        }));
    }
    let mut lat = vec![];
    for h in hs {
        lat.extend(h.await.unwrap());
    }
    let el = t.elapsed();
    lat.sort();
    println!(
        "{} runs conc {} : {:.0} runs/s p50 {:?} p99 {:?}",
        n,
        conc,
        n as f64 / el.as_secs_f64(),
        lat[lat.len() / 2],
        lat[lat.len() * 99 / 100]
    );
    e.stop().await.unwrap();
    let sz: u64 = std::fs::read_dir(dir.path().join("journal"))
        .unwrap()
        .map(|e| {
            let e = e.unwrap();
            println!("{:?} {}", e.file_name(), e.metadata().unwrap().len());
            e.metadata().unwrap().len()
        })
        .sum();
    println!("bytes {}", sz);
}
