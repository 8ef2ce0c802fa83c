//! The header fields that somebody here reads. All others are skipped while the head is parsed.

/// A known request header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "each variant is the header of that name")]
pub enum Field {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Expect,
    ContentType,
    IfMatch,
    IfNoneMatch,
    StreamTtl,
    StreamExpiresAt,
    StreamClosed,
    StreamSeq,
    ProducerId,
    ProducerEpoch,
    ProducerSeq,
    ForkedFrom,
    ForkOffset,
    ForkSubOffset,
    RetainSeconds,
    RetainBytes,
    RetainMessages,
    ContentEncoding,
    ForwardedProto,
    Forwarded,
}

impl Field {
    /// How many there are.
    pub const COUNT: usize = 24;

    /// Looks a name up, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let candidates: &[(&str, Self)] = match name.len() {
            4 => &[("host", Self::Host)],
            6 => &[("expect", Self::Expect)],
            8 => &[("if-match", Self::IfMatch)],
            10 => &[
                ("connection", Self::Connection),
                ("stream-seq", Self::StreamSeq),
                ("stream-ttl", Self::StreamTtl),
            ],
            11 => &[("producer-id", Self::ProducerId)],
            12 => &[("content-type", Self::ContentType), ("producer-seq", Self::ProducerSeq)],
            13 => &[("if-none-match", Self::IfNoneMatch), ("stream-closed", Self::StreamClosed)],
            14 => &[("content-length", Self::ContentLength), ("producer-epoch", Self::ProducerEpoch)],
            16 => &[("content-encoding", Self::ContentEncoding)],
            17 => &[
                ("transfer-encoding", Self::TransferEncoding),
                ("stream-expires-at", Self::StreamExpiresAt),
                ("x-forwarded-proto", Self::ForwardedProto),
                ("thalweg-forwarded", Self::Forwarded),
            ],
            18 => &[("stream-forked-from", Self::ForkedFrom), ("stream-fork-offset", Self::ForkOffset)],
            19 => &[("stream-retain-bytes", Self::RetainBytes)],
            21 => &[("stream-retain-seconds", Self::RetainSeconds)],
            22 => &[
                ("stream-fork-sub-offset", Self::ForkSubOffset),
                ("stream-retain-messages", Self::RetainMessages),
            ],
            _ => &[],
        };
        candidates.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|&(_, field)| field)
    }

    /// The name as the protocol writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "Host",
            Self::ContentLength => "Content-Length",
            Self::TransferEncoding => "Transfer-Encoding",
            Self::Connection => "Connection",
            Self::Expect => "Expect",
            Self::ContentType => "Content-Type",
            Self::IfMatch => "If-Match",
            Self::IfNoneMatch => "If-None-Match",
            Self::StreamTtl => "Stream-TTL",
            Self::StreamExpiresAt => "Stream-Expires-At",
            Self::StreamClosed => "Stream-Closed",
            Self::StreamSeq => "Stream-Seq",
            Self::ProducerId => "Producer-Id",
            Self::ProducerEpoch => "Producer-Epoch",
            Self::ProducerSeq => "Producer-Seq",
            Self::ForkedFrom => "Stream-Forked-From",
            Self::ForkOffset => "Stream-Fork-Offset",
            Self::ForkSubOffset => "Stream-Fork-Sub-Offset",
            Self::RetainSeconds => "Stream-Retain-Seconds",
            Self::RetainBytes => "Stream-Retain-Bytes",
            Self::RetainMessages => "Stream-Retain-Messages",
            Self::ContentEncoding => "Content-Encoding",
            Self::ForwardedProto => "X-Forwarded-Proto",
            Self::Forwarded => "Thalweg-Forwarded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_by_its_name_in_any_case() {
        let names = [
            "Host",
            "Content-Length",
            "Transfer-Encoding",
            "Connection",
            "Expect",
            "Content-Type",
            "If-Match",
            "If-None-Match",
            "Stream-TTL",
            "Stream-Expires-At",
            "Stream-Closed",
            "Stream-Seq",
            "Producer-Id",
            "Producer-Epoch",
            "Producer-Seq",
            "Stream-Forked-From",
            "Stream-Fork-Offset",
            "Stream-Fork-Sub-Offset",
            "Stream-Retain-Seconds",
            "Stream-Retain-Bytes",
            "Stream-Retain-Messages",
            "Content-Encoding",
            "X-Forwarded-Proto",
            "Thalweg-Forwarded",
        ];
        assert_eq!(names.len(), Field::COUNT);
        for (position, name) in names.into_iter().enumerate() {
            let field = Field::from_name(name).unwrap();
            assert_eq!((field as usize, field.name()), (position, name));
            assert_eq!(Field::from_name(&name.to_uppercase()), Some(field));
        }
        assert_eq!(Field::from_name("Hosts"), None);
    }
}
