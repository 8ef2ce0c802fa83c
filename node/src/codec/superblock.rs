//! One copy of the superblock: what a volume must remember besides its log (table in `docs/formats.md`).

use std::collections::BTreeMap;

use super::fixed::{Fields, Short};
use crate::types::{
    Boot, ClusterId, Epoch, Met, RecordEpoch, ShardId, Start, StartKey, TRAIL_STARTS_MAX, Trail,
    VolumeIncarnation,
};

/// First bytes of every copy. Persisted, keep stable.
pub const MAGIC: [u8; 8] = *b"THALWSUP";
/// The only version so far. Persisted, keep stable.
pub const VERSION: u32 = 1;
/// Bytes before the body.
pub const HEADER_BYTES: usize = 32;

/// What a volume remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's name.
    pub node: String,
    /// Drawn when the volume was formatted.
    pub incarnation: VolumeIncarnation,
    /// What the outside world calls the volume; compared only when given.
    pub volume: Option<String>,
    /// How often the volume was started.
    pub boot: Boot,
    /// What the last starts drew, the newest first.
    pub keys: Vec<StartKey>,
    /// The last start of each peer that was met or heard of.
    pub peers: BTreeMap<VolumeIncarnation, Met>,
    /// What was promised and learnt per shard.
    pub shards: BTreeMap<ShardId, ShardMemory>,
    /// The members of the cluster, in the form of [`super::roster`]; empty for a node on its own.
    pub roster: Vec<u8>,
    /// This volume is an older copy of itself: a peer has met this start of it, of which it knows nothing. It takes no part any
    /// more.
    pub put_back: Option<Boot>,
}

/// What a volume remembers of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShardMemory {
    /// Nothing of an epoch below is accepted any more.
    pub promised: Epoch,
    /// The last epoch that this volume led.
    pub led: Epoch,
    /// The newest set of voters known, in the form of its record.
    pub config: Vec<u8>,
    /// The replica applied its own removal: it takes no part until a set of voters has it again.
    pub retired: bool,
    /// Why the shard's data must not be opened, if so.
    pub quarantined: Option<String>,
}

/// Why bytes are no copy of a superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// Too short, another magic number, or a checksum that does not fit: torn or damaged.
    #[error("the copy is torn or damaged")]
    Damaged,
    /// Written by a newer release.
    #[error("the superblock has version {0}, which this release does not know")]
    Newer(u32),
}

impl From<Short> for SuperblockError {
    fn from(Short: Short) -> Self {
        Self::Damaged
    }
}

impl Superblock {
    /// The last starts of this volume.
    #[must_use]
    pub fn trail(&self) -> Trail {
        // Keys that are no trail are not read and not written.
        Trail::new(self.boot, &self.keys).unwrap_or_else(|| Trail::without_keys(self.boot))
    }

    /// One more start, which drew a key.
    pub fn begin(&mut self, key: StartKey) {
        let trail = self.trail().followed_by(key);
        (self.boot, self.keys) = (trail.newest(), trail.keys().to_vec());
    }

    /// A start of a peer was met or heard of.
    pub fn remember(&mut self, peer: VolumeIncarnation, start: Start) {
        self.peers.insert(peer, start.into());
    }

    /// One copy, the `sequence`-th that is written.
    #[must_use]
    pub fn encode(&self, sequence: u64) -> Vec<u8> {
        let mut body = Vec::with_capacity(4096);
        body.extend_from_slice(&self.cluster.0);
        body.extend_from_slice(&self.incarnation.0);
        body.extend_from_slice(&self.boot.0.to_le_bytes());
        put_bytes(&mut body, self.node.as_bytes());
        put_optional(&mut body, self.volume.as_deref());
        put_count(&mut body, self.peers.len());
        for (peer, met) in &self.peers {
            body.extend_from_slice(&peer.0);
            body.extend_from_slice(&met.boot.0.to_le_bytes());
        }
        put_count(&mut body, self.shards.len());
        for (shard, memory) in &self.shards {
            body.extend_from_slice(&shard.0.to_le_bytes());
            for epoch in [memory.promised, memory.led] {
                body.extend_from_slice(&epoch.record.0.to_le_bytes());
                body.extend_from_slice(&epoch.boot.0.to_le_bytes());
            }
            body.push(u8::from(memory.retired));
            put_optional(&mut body, memory.quarantined.as_deref());
            put_bytes(&mut body, &memory.config);
        }
        let has_starts = self.has_starts();
        if has_starts || !self.roster.is_empty() {
            put_bytes(&mut body, &self.roster);
        }
        if has_starts {
            self.put_starts(&mut body);
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        put_count(&mut bytes, body.len());
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes), &body);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.append(&mut body);
        bytes
    }

    /// Whether there is more to say of starts than how many there were.
    fn has_starts(&self) -> bool {
        let keyed = self.peers.values().any(|met| met.key.is_some());
        keyed || !self.keys.is_empty() || self.put_back.is_some()
    }

    fn put_starts(&self, body: &mut Vec<u8>) {
        put_count(body, self.keys.len());
        self.keys.iter().for_each(|key| body.extend_from_slice(&key.0.to_le_bytes()));
        let of_peers = self.peers.values().map(|met| met.key.map(|key| key.0));
        for number in of_peers.chain([self.put_back.map(|boot| boot.0)]) {
            body.push(u8::from(number.is_some()));
            number.iter().for_each(|number| body.extend_from_slice(&number.to_le_bytes()));
        }
    }

    /// Reads a copy and its sequence; what follows it in the file does not matter.
    pub fn decode(bytes: &[u8]) -> Result<(u64, Self), SuperblockError> {
        let mut fields = Fields::new(bytes);
        if fields.array()? != MAGIC {
            return Err(SuperblockError::Damaged);
        }
        let (version, body_bytes, sequence) = (fields.u32()?, fields.u32()?, fields.u64()?);
        fields.bytes(4)?;
        let checksum = fields.u32()?;
        let body = fields.bytes(usize::try_from(body_bytes).map_err(|_| Short)?)?;
        let head = bytes.get(..HEADER_BYTES - 4).ok_or(Short)?;
        if crc32c::crc32c_append(crc32c::crc32c(head), body) != checksum {
            return Err(SuperblockError::Damaged);
        }
        if version != VERSION {
            return Err(SuperblockError::Newer(version));
        }
        Ok((sequence, Self::decode_body(Fields::new(body))?))
    }

    fn decode_body(mut body: Fields<'_>) -> Result<Self, SuperblockError> {
        let cluster = ClusterId(body.array()?);
        let incarnation = VolumeIncarnation(body.array()?);
        let boot = Boot(body.u64()?);
        let node = text(take_bytes(&mut body)?)?;
        let volume = take_optional(&mut body)?;
        let mut peers = BTreeMap::new();
        for _ in 0..body.u32()? {
            peers.insert(VolumeIncarnation(body.array()?), Met { boot: Boot(body.u64()?), key: None });
        }
        let mut shards = BTreeMap::new();
        for _ in 0..body.u32()? {
            let shard = ShardId(body.u16()?);
            let promised = epoch(&mut body)?;
            let led = epoch(&mut body)?;
            let retired = body.u8()? != 0;
            let quarantined = take_optional(&mut body)?;
            let config = take_bytes(&mut body)?.to_vec();
            shards.insert(shard, ShardMemory { promised, led, config, retired, quarantined });
        }
        let roster = if body.rest().is_empty() { Vec::new() } else { take_bytes(&mut body)?.to_vec() };
        let (keys, put_back) = (Vec::new(), None);
        let mut read =
            Self { cluster, node, incarnation, volume, boot, keys, peers, shards, roster, put_back };
        if !body.rest().is_empty() {
            read.take_starts(&mut body)?;
        }
        Ok(read)
    }

    fn take_starts(&mut self, body: &mut Fields<'_>) -> Result<(), SuperblockError> {
        let count = body.u32()?;
        if usize::try_from(count).is_ok_and(|count| count > TRAIL_STARTS_MAX) {
            return Err(SuperblockError::Damaged);
        }
        for _ in 0..count {
            self.keys.push(StartKey(body.u64()?));
        }
        for met in self.peers.values_mut() {
            met.key = optional_number(body)?.map(StartKey);
        }
        self.put_back = optional_number(body)?.map(Boot);
        // More keys than starts were drawn by another volume.
        let fits = Trail::new(self.boot, &self.keys).is_some();
        if fits { Ok(()) } else { Err(SuperblockError::Damaged) }
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    // Names, configs and maps stay far below; a count that did not fit would not be read back either.
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_bytes(out, text.as_bytes());
    }
}

fn take_bytes<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], Short> {
    let count = usize::try_from(fields.u32()?).map_err(|_| Short)?;
    fields.bytes(count)
}

fn take_optional(fields: &mut Fields<'_>) -> Result<Option<String>, SuperblockError> {
    if fields.u8()? == 0 { Ok(None) } else { text(take_bytes(fields)?).map(Some) }
}

fn optional_number(fields: &mut Fields<'_>) -> Result<Option<u64>, Short> {
    Ok(if fields.u8()? == 0 { None } else { Some(fields.u64()?) })
}

fn text(bytes: &[u8]) -> Result<String, SuperblockError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| SuperblockError::Damaged)
}

fn epoch(fields: &mut Fields<'_>) -> Result<Epoch, Short> {
    Ok(Epoch { record: RecordEpoch(fields.u64()?), boot: Boot(fields.u64()?) })
}
