//! The one door to randomness: the ids of runs and of journals. Nothing else in the engine is random; jitter is a hash.

use parking_lot::Mutex;

/// A source of random bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Ten random bytes for a run id.
    fn run_id_bytes(&self) -> [u8; 10];
}

/// The operating system's randomness, drawn in blocks.
#[derive(Debug, Default)]
pub struct SystemEntropy {
    block: Mutex<(Vec<u8>, usize)>,
}

impl Entropy for SystemEntropy {
    fn run_id_bytes(&self) -> [u8; 10] {
        let mut guard = self.block.lock();
        let (block, used) = &mut *guard;
        if block.len() < *used + 10 {
            block.resize(2_000, 0);
            getrandom::fill(block).expect("the operating system gives random bytes");
            *used = 0;
        }
        let bytes = block[*used..*used + 10].try_into().expect("ten bytes");
        *used += 10;
        bytes
    }
}

/// A stated sequence, for tests: the same seed gives the same ids (SplitMix64).
#[derive(Debug)]
pub struct SeededEntropy {
    state: Mutex<u64>,
}

impl SeededEntropy {
    /// A sequence from a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::new(seed) }
    }
}

impl Entropy for SeededEntropy {
    fn run_id_bytes(&self) -> [u8; 10] {
        let mut state = self.state.lock();
        let mut next = || {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&next().to_le_bytes());
        bytes[8..].copy_from_slice(&next().to_le_bytes()[..2]);
        bytes
    }
}
