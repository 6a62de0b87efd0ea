//! The distribution of Kolmogorov's one-sample statistic: P(Dₙ ≥ x).
//!
//! No single formula holds its digits everywhere. The choice follows Simard and L'Ecuyer, "Computing the Two-Sided
//! Kolmogorov–Smirnov Distribution", Journal of Statistical Software 39, 2011, with the bounds that scipy's `kstwo.sf` uses:
//!
//! | where | what | source |
//! |---|---|---|
//! | x next to 1/2n or 1 | closed forms | Ruben and Gambino 1982 |
//! | x ≥ ½, or n·x² beyond 4 (n ≤ 140) or 2.2 (else) | twice the one-sided tail | Smirnov 1944, Birnbaum and Tingey 1951, Miller 1956 |
//! | n ≤ 140, or n ≤ 100 000 and n·x^1.5 ≤ 1.4 | power of a matrix, exact | Durbin 1968; Marsaglia, Tsang, Wang 2003 |
//! | the rest | expansion in 1/√n | Pelz and Good 1976 |
//!
//! scipy takes Pomeranz' recursion in part of the third row; the matrix is exact there as well, and affordable.

use std::f64::consts::PI;

/// Above this the one-sided tail is taken from its limit: the sum has as many terms as rows.
const SUM_ROWS_MAX: u64 = 2_000_000;

/// P(Dₙ ≥ x) for `n` rows.
pub(super) fn upper_tail(n: u64, x: f64) -> f64 {
    if n == 0 || x.is_nan() {
        return f64::NAN;
    }
    let rows = n as f64;
    let (t, z2) = (rows * x, rows * x * x);
    let p = if t <= 0.5 {
        1.0
    } else if x >= 1.0 {
        0.0
    } else if t <= 1.0 {
        1.0 - (ln_factorial(n) - rows * rows.ln() + rows * (2.0 * t - 1.0).ln()).exp()
    } else if t >= rows - 1.0 {
        2.0 * (1.0 - x).powf(rows)
    } else if x >= 0.5 || z2 > 4.0 || (n > 140 && z2 >= 2.2) {
        2.0 * one_sided(n, x)
    } else if n <= 140 || (n <= 100_000 && rows * x.powf(1.5) <= 1.4) {
        1.0 - durbin(n, x)
    } else {
        1.0 - pelz_good(rows, x)
    };
    p.clamp(0.0, 1.0)
}

/// P(Dₙ⁺ ≥ x) = x Σⱼ C(n, j) (x + j/n)^(j−1) (1 − x − j/n)^(n−j), over all j with a positive last factor.
///
/// A term is a binomial probability of j hits at p = x + j/n, times x/p. Loader's form of that probability ("Fast and
/// Accurate Computation of Binomial Probabilities", 2000) keeps its digits for large n where factorials would not.
fn one_sided(n: u64, x: f64) -> f64 {
    let rows = n as f64;
    if n > SUM_ROWS_MAX {
        // Maag and Dicaire 1971; off by less than a millionth at this size.
        return (-(6.0 * rows * x + 1.0).powi(2) / (18.0 * rows)).exp();
    }
    let stirling_n = stirling_error(n);
    let last = (rows * (1.0 - x)).ceil() as u64;
    let terms = (0..last.min(n)).map(|j| {
        let hit = x + j as f64 / rows;
        let miss = 1.0 - hit;
        if miss <= 0.0 {
            return 0.0;
        }
        if j == 0 {
            return (rows * (-x).ln_1p()).exp();
        }
        let (k, l) = (j as f64, (n - j) as f64);
        let exponent =
            stirling_n - stirling_error(j) - stirling_error(n - j) - deviance(k, rows * hit) - deviance(l, rows * miss);
        exponent.exp() * (rows / (2.0 * PI * k * l)).sqrt() * (x / hit)
    });
    terms.sum()
}

/// ln n! − ln(√(2πn) (n/e)ⁿ): what Stirling's formula leaves out.
fn stirling_error(n: u64) -> f64 {
    if n < 16 {
        let n = n as f64;
        let ln_factorial = (2..=n as u64).map(|k| k as f64).product::<f64>().ln();
        return if n == 0.0 { 0.0 } else { ln_factorial - (n + 0.5) * n.ln() + n - (2.0 * PI).ln() / 2.0 };
    }
    // Bernoulli numbers B₂ₖ / (2k (2k − 1)).
    let r = 1.0 / n as f64;
    let r2 = r * r;
    let tail =
        [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1_260.0, -1.0 / 1_680.0, 1.0 / 1_188.0, -691.0 / 360_360.0, 1.0 / 156.0];
    r * tail.iter().rev().fold(0.0, |sum, c| sum * r2 + c)
}

fn ln_factorial(n: u64) -> f64 {
    let rows = n as f64;
    if n == 0 { 0.0 } else { (2.0 * PI * rows).ln() / 2.0 + rows * (rows.ln() - 1.0) + stirling_error(n) }
}

/// Loader's D₀: k ln(k/m) + m − k, without cancellation when k is near m.
fn deviance(k: f64, m: f64) -> f64 {
    let v = (k - m) / (k + m);
    if v.abs() >= 0.1 {
        return k * (k / m).ln() + m - k;
    }
    let (mut sum, mut power) = ((k - m) * v, 2.0 * k * v);
    for odd in (3..).step_by(2) {
        power *= v * v;
        let next = sum + power / f64::from(odd);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

/// A square matrix times a power of two, so that large powers of it neither overflow nor vanish.
struct Scaled {
    cells: Vec<f64>,
    exponent: i32,
}

/// Beyond this, a matrix is scaled down.
const SCALE: i32 = 128;

fn product(a: &Scaled, b: &Scaled, size: usize, middle: usize) -> Scaled {
    let mut cells = vec![0.0; size * size];
    for (row, out) in a.cells.chunks_exact(size).zip(cells.chunks_exact_mut(size)) {
        for (&factor, from) in row.iter().zip(b.cells.chunks_exact(size)) {
            if factor != 0.0 {
                out.iter_mut().zip(from).for_each(|(o, f)| *o += factor * f);
            }
        }
    }
    let mut exponent = a.exponent.saturating_add(b.exponent);
    if cells[middle] > 2.0_f64.powi(SCALE) {
        cells.iter_mut().for_each(|c| *c *= 2.0_f64.powi(-SCALE));
        exponent = exponent.saturating_add(SCALE);
    }
    Scaled { cells, exponent }
}

/// P(Dₙ < x) = n!/nⁿ · (Hⁿ)ₖₖ with n·x = k − h: Durbin's matrix as Marsaglia, Tsang and Wang write it.
fn durbin(n: u64, x: f64) -> f64 {
    let nx = n as f64 * x;
    let k = nx.ceil() as usize;
    let h = k as f64 - nx;
    let size = 2 * k - 1;
    let inverse_factorial: Vec<f64> = (0..=size)
        .scan(1.0, |f, j| {
            *f /= (j.max(1)) as f64;
            Some(*f)
        })
        .collect();
    let mut cells = vec![0.0; size * size];
    for i in 0..size {
        for j in 0..=(i + 1).min(size - 1) {
            cells[i * size + j] = inverse_factorial[i + 1 - j];
        }
    }
    // First column and last row: (1 − h^i) / i!, and the corner where both meet.
    for i in 1..=size {
        let v = (1.0 - h.powi(i as i32)) * inverse_factorial[i];
        cells[(i - 1) * size] = v;
        cells[(size - 1) * size + size - i] = v;
    }
    let power = size as i32;
    cells[(size - 1) * size] =
        (1.0 - 2.0 * h.powi(power) + (2.0 * h - 1.0).max(0.0).powi(power)) * inverse_factorial[size];

    let middle = (k - 1) * size + k - 1;
    let mut square = Scaled { cells, exponent: 0 };
    let mut result: Option<Scaled> = None;
    let mut left = n;
    while left > 0 {
        if left % 2 == 1 {
            result = Some(match result {
                None => Scaled { cells: square.cells.clone(), exponent: square.exponent },
                Some(r) => product(&r, &square, size, middle),
            });
        }
        left /= 2;
        if left > 0 {
            square = product(&square, &square, size, middle);
        }
    }
    let Some(result) = result else { return 1.0 };
    let mut p = result.cells[middle];
    let mut exponent = result.exponent;
    for i in 1..=n {
        p *= i as f64 / n as f64;
        if p < 2.0_f64.powi(-SCALE) {
            p *= 2.0_f64.powi(SCALE);
            exponent = exponent.saturating_sub(SCALE);
        }
    }
    // Stepwise, because a single power of two this small would be zero.
    while exponent != 0 && p != 0.0 {
        let step = exponent.clamp(-SCALE, SCALE);
        p *= 2.0_f64.powi(step);
        exponent -= step;
    }
    p
}

/// P(Dₙ < x) ≈ K₀(z) + K₁(z)/√n + K₂(z)/n + K₃(z)/n^1.5, z = x√n, with the sums turned by Jacobi's theta identities so that
/// they converge for small z (Pelz and Good 1976, as Simard and L'Ecuyer print it).
fn pelz_good(rows: f64, x: f64) -> f64 {
    let z = rows.sqrt() * x;
    let z2 = z * z;
    let (pi2, root) = (PI * PI, (2.0 * PI).sqrt());
    let q_ln = -pi2 / (8.0 * z2);
    if q_ln < -708.0 {
        return 0.0;
    }
    let (mut k0, mut k1, mut k2, mut k3) = (0.0, 0.0, 0.0, 0.0);
    let (mut k2_whole, mut k3_whole) = (0.0, 0.0);
    let terms = (16.0 * z / PI).ceil() as u32;
    // From the smallest term up.
    for k in (1..=terms).rev().map(f64::from) {
        let (odd, whole) = (2.0 * k - 1.0, k);
        let e = (q_ln * odd * odd).exp();
        // h stands for π²(k − ½)².
        let h = pi2 * odd * odd / 4.0;
        k0 += e;
        k1 += (h - z2) * e;
        k2 += (6.0 * z2.powi(3) + 2.0 * z2.powi(2) + (2.0 * z2.powi(2) - 5.0 * z2) * h + (1.0 - 2.0 * z2) * h * h) * e;
        k3 += (-30.0 * z2.powi(3) - 90.0 * z2.powi(4)
            + (135.0 * z2.powi(2) - 96.0 * z2.powi(3)) * h
            + (212.0 * z2.powi(2) - 60.0 * z2) * h * h
            + (5.0 - 30.0 * z2) * h.powi(3))
            * e;
        let w = pi2 * whole * whole;
        let e = (-w / (2.0 * z2)).exp();
        k2_whole += w * e;
        k3_whole += (3.0 * w * z2 - w * w) * e;
    }
    let k0 = root / z * k0;
    let k1 = root / (6.0 * z2.powi(2)) * k1;
    let k2 = root / (72.0 * z.powi(7)) * k2 - root / (36.0 * z.powi(3)) * k2_whole;
    let k3 = root / (6_480.0 * z.powi(10)) * k3 + root / (216.0 * z.powi(6)) * k3_whole;
    k0 + k1 / rows.sqrt() + k2 / rows + k3 / (rows * rows.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.kstwo.sf(x, n)` of scipy 1.17.1, one or more per branch.
    const SCIPY: [(u64, f64, f64); 24] = [
        (5, 0.3, 0.664),
        (3, 0.2, 0.9982222222222222),
        (7, 0.6, 0.006140397691438094),
        (10, 0.95, 1.9531250000000172e-13),
        (20, 0.1, 0.976255094592155),
        (100, 0.05, 0.9532159710635725),
        (100, 0.12, 0.10330374901819939),
        (140, 0.165, 0.0008458071085063383),
        (140, 0.2, 2.1981563302200222e-05),
        (141, 0.06, 0.6677160791348915),
        (141, 0.3, 9.46134771413843e-12),
        (160, 0.004, 1.0),
        (300, 0.005, 1.0),
        (500, 0.02, 0.9859871786857471),
        (500, 0.08, 0.0031305058199356268),
        (1000, 0.05, 0.013012074781090332),
        (5000, 0.009, 0.8092347107787957),
        (5000, 0.03, 0.00024159234422666817),
        (20000, 0.008, 0.15371596723031855),
        (100000, 0.0004, 1.0),
        (100000, 0.003, 0.3284563327726956),
        (100000, 0.012, 6.158882571057449e-13),
        (500000, 0.0015, 0.21034190155828947),
        (500000, 0.004, 2.2445978493851467e-07),
    ];

    #[test]
    fn every_branch_agrees_with_scipy() {
        for (n, x, expected) in SCIPY {
            let found = upper_tail(n, x);
            // A tail that is one minus a matrix power has lost what the power rounded.
            let bound = (1e-12 * expected).max(if x < 0.5 && (n as f64) * x * x <= 4.0 { 2e-14 } else { 0.0 });
            assert!((found - expected).abs() <= bound, "n {n}, x {x}: {found} not {expected}");
        }
    }

    #[test]
    fn the_tail_falls_from_one_to_zero() {
        for n in [1_u64, 2, 3, 10, 139, 141, 1_000, 3_000_000] {
            let tails: Vec<f64> = (0..=500).map(|i| upper_tail(n, f64::from(i) / 500.0)).collect();
            assert_eq!((tails[0], tails[500]), (1.0, 0.0), "n {n}");
            let rise = tails.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
            assert!(rise <= 1e-6, "n {n} rises by {rise}");
        }
    }
}
