//! What the tests share: entries that say what they are, and options that make everything small.

use std::collections::BTreeMap;
use std::sync::Arc;

use cpd_journal::files::Files;
use cpd_journal::{Chain, Entry, EntryBuilder, Error, Log, Options, Reader, Receipt, Recovered, StoredEntry, StreamId};

/// Segments of 4 KiB, no thread that fills ahead: what happens is a function of what was asked.
pub fn small() -> Options {
    Options { segment_bytes: 4096, first_segment_bytes: 4096, fill_ahead: false, ..Options::default() }
}

pub fn stream(n: u8) -> StreamId {
    StreamId([n; 16])
}

/// Builds an entry with records of these sizes, each filled with its own `seq`.
pub fn entry(chain: &Chain, sizes: &[usize]) -> (Entry, Chain) {
    let mut builder = EntryBuilder::new(chain, 1_700_000_000_000_000 + chain.next_seq() as i64);
    for (i, &size) in sizes.iter().enumerate() {
        let seq = chain.next_seq() + i as u64;
        builder.push(1 + (seq % 7) as u16, 1, &vec![seq as u8; size]);
    }
    builder.finish().expect("a legal entry")
}

/// What a reader gives back of an entry, without where it stands.
pub type Shape = (StreamId, u64, Vec<(u16, Vec<u8>)>);

pub fn shape(entry: &StoredEntry) -> Shape {
    let records = entry.records().map(|record| (record.kind, record.payload.to_vec())).collect();
    (entry.stream(), entry.seq(), records)
}

/// A log with a chain for each stream that was used, and what should be in it.
pub struct Bench {
    pub log: Log,
    pub recovered: Recovered,
    pub chains: BTreeMap<u8, Chain>,
    pub acknowledged: Vec<Shape>,
}

impl Bench {
    pub fn open(files: &Arc<dyn Files>, options: Options) -> Result<Self, Error> {
        let (log, recovered) = Log::open_files(Arc::clone(files), options)?;
        let mut bench = Self { log, recovered, chains: BTreeMap::new(), acknowledged: Vec::new() };
        for stored in bench.log.reader().scan(bench.recovered.first)? {
            let stored = stored?;
            bench.chains.insert(stored.stream().0[0], stored.chain());
            bench.acknowledged.push(shape(&stored));
        }
        Ok(bench)
    }

    /// Appends one entry as a group of its own.
    pub fn append(&mut self, of: u8, sizes: &[usize]) -> Result<Receipt, Error> {
        self.append_group(&[(of, sizes)]).map(|receipts| receipts[0])
    }

    /// Appends entries as one group.
    pub fn append_group(&mut self, what: &[(u8, &[usize])]) -> Result<Vec<Receipt>, Error> {
        let mut chains = self.chains.clone();
        let entries: Vec<_> = what
            .iter()
            .map(|&(of, sizes)| {
                let chain = chains.entry(of).or_insert_with(|| Chain::start(stream(of)));
                let (entry, next) = entry(chain, sizes);
                *chain = next;
                entry
            })
            .collect();
        let shapes: Vec<_> = what.iter().zip(&entries).map(|(&(_, sizes), e)| expected(e, sizes)).collect();
        let receipts = self.log.append(&entries)?;
        self.chains = chains;
        self.acknowledged.extend(shapes);
        Ok(receipts)
    }
}

/// What an entry made by [`entry`] should read back as.
pub fn expected(entry: &Entry, sizes: &[usize]) -> Shape {
    let records =
        sizes.iter().zip(entry.first_seq()..).map(|(&size, seq)| (1 + (seq % 7) as u16, vec![seq as u8; size]));
    (entry.stream(), entry.first_seq(), records.collect())
}

/// Reads everything there is.
pub fn everything(reader: &Reader) -> Result<Vec<StoredEntry>, Error> {
    let first = reader.segments()?[0].first;
    reader.scan(first)?.collect()
}
