//! Decoders undo encoders, however the bytes are cut, give no more than their limit, and say why they stopped.
//!
//! The first byte of an input chooses the coding; the rest is the encoded body, and a text to encode.

use std::io::{Read, Write};
use std::iter;

use flate2::Compression;
use spangate::internals::encoding::{DecodeStop, Decoder};

use crate::engine::{fingerprint, magnitude, pieces, run};

const CODINGS: [&str; 6] = ["gzip", "deflate", "br", "zstd", "zstd, gzip", "identity"];
const LIMITS: [usize; 2] = [1 << 20, 300];
const TOKENS: &[&str] = &[
    "\u{1f}",
    "data: ",
    "\0\0\u{0}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

type Decoded = (Vec<u8>, Option<DecodeStop>);

fn decode<'p>(coding: &str, limit: usize, pieces: impl IntoIterator<Item = &'p [u8]>) -> Decoded {
    let mut decoder = Decoder::new(Some(coding), limit);
    let mut output = Vec::new();
    for piece in pieces {
        decoder.push(piece, |bytes| output.extend_from_slice(bytes));
        assert!(output.len() <= limit, "{} bytes of {limit}", output.len());
    }
    (output, decoder.stopped())
}

fn encode(coding: &str, text: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    match coding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(&mut body, Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap();
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(&mut body, Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap();
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(&mut body, 4096, 1, 16);
            encoder.write_all(text).unwrap();
        }
        "zstd" => body = zstd::encode_all(text, 1).unwrap(),
        "identity" => body.extend_from_slice(text),
        stacked => {
            body.extend_from_slice(text);
            for coding in stacked.split(", ") {
                body = encode(coding, &body);
            }
        }
    }
    body
}

/// The text of an encoded body by the decoder of the same library. None where the body is not whole.
fn by_library(coding: &str, encoded: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    // Bombs are our decoder's business.
    let mut read = |reader: &mut dyn Read| reader.take(1 << 20).read_to_end(&mut text).is_ok();
    let whole = match coding {
        "gzip" => read(&mut flate2::read::MultiGzDecoder::new(encoded)),
        "br" => read(&mut brotli::Decompressor::new(encoded, 4096)),
        "zstd" => read(&mut zstd::stream::read::Decoder::new(encoded).unwrap()),
        _ => false,
    };
    whole.then_some(text)
}

/// Compares two bodies and, since they are long, fails with their lengths and the first difference.
fn same(one: &Decoded, other: &Decoded, what: &str) {
    let differs = (one.0.iter())
        .zip(&other.0)
        .position(|(one, other)| one != other);
    let summary = |of: &Decoded| (of.0.len(), of.1);
    assert_eq!(
        (summary(one), differs),
        (summary(other), None),
        "{what}: bytes, end, first difference"
    );
}

#[test]
fn decoders() {
    run("decoders", TOKENS, |input| {
        let Some((&first, body)) = input.split_first() else {
            return 0;
        };
        let coding = CODINGS[usize::from(first) % CODINGS.len()];
        let limit = LIMITS[usize::from(first) / CODINGS.len() % LIMITS.len()];
        let whole = decode(coding, limit, [body]);
        let by_library = by_library(coding, body);
        // A library may keep back what came before wrong bytes, brotli's also what came before a break.
        let is_exact =
            whole.1 != Some(DecodeStop::Undecodable) && (coding != "br" || by_library.is_some());
        let nothing = [&[][..]; 20];
        let apart = body
            .chunks(50)
            .flat_map(|piece| iter::once(piece).chain(nothing));
        for (how, cut) in [
            ("byte by byte", decode(coding, limit, body.chunks(1))),
            ("in pieces", decode(coding, limit, pieces(body))),
            ("with nothing between", decode(coding, limit, apart)),
        ] {
            if is_exact {
                same(&cut, &whole, &format!("{coding} {how}"));
                continue;
            }
            let both = whole.0.len().min(cut.0.len());
            assert_eq!(cut.0[..both], whole.0[..both], "{coding} {how}");
            let ends = whole.1.is_none() || cut.1.is_some();
            assert!(ends, "{coding} {how} does not stop");
        }
        if let Some(text) = by_library
            && whole.1.is_none()
        {
            assert_eq!(whole.0, text, "{coding} by its library");
        }

        let encoded = encode(coding, body);
        let expected = (
            body[..body.len().min(limit)].to_vec(),
            (body.len() > limit).then_some(DecodeStop::Cut),
        );
        same(
            &decode(coding, limit, pieces(&encoded)),
            &expected,
            &format!("{coding} again"),
        );
        let early = &encoded[..encoded.len() / 2];
        let (text, stopped) = decode(coding, limit, [early]);
        assert!(body.starts_with(&text), "{coding} that breaks off");
        assert!(
            stopped != Some(DecodeStop::Undecodable),
            "{coding} that breaks off"
        );
        fingerprint((
            coding,
            limit,
            magnitude(whole.0.len()),
            whole.1 == Some(DecodeStop::Cut),
            whole.1.is_none(),
        ))
    });
}
