//! Every coding is decoded as it comes, within its limits.

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;

fn encode(coding: &str, bytes: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "raw" => {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut encoded = Vec::new();
            let mut writer = brotli::CompressorWriter::new(&mut encoded, 4096, 5, 20);
            writer.write_all(bytes).unwrap();
            drop(writer);
            encoded
        }
        "zstd" => zstd::encode_all(bytes, 3).unwrap(),
        other => panic!("no encoder for {other}"),
    }
}

fn decode(content_encoding: &str, limit: usize, pieces: &[&[u8]]) -> (Vec<u8>, Option<DecodeStop>) {
    let mut decoder = Decoder::new(Some(content_encoding), limit);
    let mut output = Vec::new();
    for piece in pieces {
        decoder.push(piece, |bytes| output.extend_from_slice(bytes));
    }
    (output, decoder.stopped())
}

const TEXT: &[u8] = b"data: one\n\ndata: two\n\ndata: three\n\ndata: three\n\n";

#[test]
fn stacked_codings_are_decoded_from_the_last_to_the_first() {
    let encoded = encode("br", &encode("gzip", TEXT));
    assert_eq!(decode("gzip, br", 1000, &[&encoded]), (TEXT.to_vec(), None));
    assert_eq!(
        decode("br,gzip", 1000, &[&encoded]).1,
        Some(DecodeStop::Undecodable)
    );
}

#[test]
fn gzip_may_have_several_members() {
    let encoded = [encode("gzip", TEXT), encode("gzip", b"more")].concat();
    assert_eq!(
        decode("x-gzip", 1000, &[&encoded]),
        ([TEXT, b"more"].concat(), None)
    );
}

#[test]
fn deflate_without_a_zlib_header_is_decoded() {
    assert_eq!(
        decode("deflate", 1000, &[&encode("raw", TEXT)]),
        (TEXT.to_vec(), None)
    );
}

#[test]
fn identity_passes_up_to_the_limit() {
    assert_eq!(decode("identity", 1000, &[TEXT]), (TEXT.to_vec(), None));
    assert_eq!(
        decode("", 4, &[b"da", b"ta", b": "]),
        (b"data".to_vec(), Some(DecodeStop::Cut))
    );
}

#[test]
fn flushed_bytes_are_decoded_at_once() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::default());
    let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 20);
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    let mut decoders =
        ["gzip", "deflate", "br", "zstd"].map(|coding| (coding, Decoder::new(Some(coding), 1000)));
    for event in TEXT.split_inclusive(|&byte| byte == b'\n') {
        for (coding, decoder) in &mut decoders {
            let encoded = match *coding {
                "gzip" => flushed(&mut gzip, event, |encoder| {
                    std::mem::take(encoder.get_mut())
                }),
                "deflate" => flushed(&mut deflate, event, |encoder| {
                    std::mem::take(encoder.get_mut())
                }),
                "br" => flushed(&mut brotli, event, |encoder| {
                    std::mem::take(encoder.get_mut())
                }),
                _ => flushed(&mut zstd, event, |encoder| {
                    std::mem::take(encoder.get_mut())
                }),
            };
            let mut decoded = Vec::new();
            decoder.push(&encoded, |bytes| decoded.extend_from_slice(bytes));
            assert_eq!(decoded, event, "{coding}");
        }
    }
}

fn flushed<E: Write>(encoder: &mut E, bytes: &[u8], take: impl Fn(&mut E) -> Vec<u8>) -> Vec<u8> {
    encoder.write_all(bytes).unwrap();
    encoder.flush().unwrap();
    take(encoder)
}

#[test]
fn a_bomb_is_cut() {
    let zeros = vec![0; 64 << 20];
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let encoded = encode(coding, &zeros);
        let (decoded, stopped) = decode(coding, usize::MAX, &[&encoded]);
        assert_eq!(stopped, Some(DecodeStop::Cut), "{coding}");
        assert!(
            decoded.len() <= BASE_ALLOWANCE + MAX_RATIO * encoded.len(),
            "{coding}: {}",
            decoded.len()
        );
    }
    let twice = encode("gzip", &encode("gzip", &zeros));
    assert_eq!(
        decode("gzip, gzip", usize::MAX, &[&twice]).1,
        Some(DecodeStop::Cut)
    );
}

#[test]
fn a_body_over_the_limit_is_cut_there() {
    assert_eq!(
        decode("gzip", 9, &[&encode("gzip", TEXT)]),
        (TEXT[..9].to_vec(), Some(DecodeStop::Cut))
    );
}

#[test]
fn an_unknown_coding_or_too_many_are_undecodable() {
    for content_encoding in ["lzma", "gzip, lzma", "br, br, br, br, br"] {
        assert_eq!(
            decode(content_encoding, 1000, &[TEXT]),
            (Vec::new(), Some(DecodeStop::Undecodable)),
            "{content_encoding}"
        );
    }
}

#[test]
fn a_header_of_very_many_codings_makes_no_decoder_for_each() {
    // As many decoders would take 16 GB.
    let codings = "zstd,".repeat(100_000);
    assert!(Decoder::new(Some(&codings), 1000).stages.is_empty());
    assert_eq!(
        decode(&codings, 1000, &[TEXT]).1,
        Some(DecodeStop::Undecodable)
    );
}

fn any_coding() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("gzip"), Just("deflate"), Just("br"), Just("zstd")]
}

proptest! {
    #[test]
    fn decoding_undoes_encoding_however_the_bytes_are_cut(
        coding in any_coding(), bytes in prop::collection::vec(any::<u8>(), 0..3000), size in 1usize..50,
    ) {
        let encoded = encode(coding, &bytes);
        let pieces: Vec<&[u8]> = encoded.chunks(size).collect();
        prop_assert_eq!(decode(coding, 1 << 20, &pieces), (bytes, None));
    }

    #[test]
    fn garbage_never_panics_and_stays_within_the_limit(
        coding in any_coding(), head in 0usize..40, garbage in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut encoded = encode(coding, TEXT);
        encoded.truncate(head);
        encoded.extend(garbage);
        prop_assert!(decode(coding, 500, &[&encoded]).0.len() <= 500);
    }
}
