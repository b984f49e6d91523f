//! Text like what agents send: prose, lists, numbers, quoted JSON, and letters beyond ASCII.
//!
//! The rule: it neither repeats itself nor is it noise. A prompt that repeats itself makes compressing look free, one of random letters makes
//! it look useless, and one without anything to escape makes parsing and encoding look several times faster than they are. The same in
//! every run.

use std::fmt::Write as _;

const COMMON: &str = "the of and to in a is that for it as was with be by on not he this are at from or have an they which one you were all \
    her she there would their we him been has when who will no more if out so up said what its about than into them can only other time \
    new some could these two may first then do any like my now over such our man me even most made after also did many off before must \
    well back through years much where your way down should because long each just state people those too mr how little good world make \
    very year still see own work men day get here old life both between being under three never know same last another while us might \
    great go come since against right came take used himself few house use place during high without again home around small however \
    found part school thought went say general once upon war every left number course second company second point system agent request \
    answer plan result value table report market user query search tool price model token review team month figure growth risk budget \
    service order customer account region product error retry status change test step data source list item cost rate";

const STARTS: [&str; 24] = [
    "con", "pre", "re", "un", "tra", "sub", "ver", "al", "mo", "per", "dis", "in", "com", "ar",
    "ex", "pro", "st", "ch", "gr", "th", "bl", "qu", "sp", "fl",
];
const MIDDLES: [&str; 16] = [
    "ta", "ri", "ven", "lo", "mi", "ser", "du", "ca", "por", "den", "li", "nu", "fe", "gra", "cul",
    "o",
];
const ENDS: [&str; 16] = [
    "tion", "ing", "er", "ment", "ed", "ly", "al", "ity", "s", "ous", "able", "ive", "ist", "ure",
    "ance", "ism",
];

/// Words without end.
pub(crate) struct Words {
    state: u64,
    vocabulary: Vec<String>,
}

impl Words {
    pub(crate) fn new() -> Self {
        let mut words = Words {
            state: 0x9E37_79B9_7F4A_7C15,
            vocabulary: COMMON.split_whitespace().map(str::to_owned).collect(),
        };
        for _ in 0..4_000 {
            let mut word = STARTS[words.below(24)].to_owned();
            for _ in 0..words.below(3) {
                word += MIDDLES[words.below(16)];
            }
            word += ENDS[words.below(16)];
            words.vocabulary.push(word);
        }
        words
    }

    /// xorshift64: its numbers need only be many.
    fn number(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from((self.number() >> 11) % bound as u64).unwrap_or(0)
    }

    /// The rarer the further back in the vocabulary, about as in any language.
    pub(crate) fn word(&mut self) -> &str {
        let (first, second) = (self.below(4_096), self.below(4_096));
        let place = first * second * second / (4_096 * 4_096);
        let place = place.min(self.vocabulary.len() - 1);
        &self.vocabulary[place]
    }

    fn sentence(&mut self, into: &mut String) {
        let length = 5 + self.below(14);
        let start = into.len();
        for place in 0..length {
            if place > 0 {
                into.push_str(match self.below(40) {
                    0..=2 => ", ",
                    3 => " – ",
                    4 => " \"",
                    5 => "\" ",
                    6 => "; ",
                    _ => " ",
                });
            }
            match self.below(30) {
                0 => into.push_str(&self.below(100_000).to_string()),
                1 => into.push_str("Zürich"),
                _ => {
                    let word = self.word();
                    into.push_str(word);
                }
            }
        }
        if let Some(first) = into.get_mut(start..=start) {
            first.make_ascii_uppercase();
        }
        into.push_str(if self.below(5) == 0 { ".\n\n" } else { ". " });
    }

    /// What a tool may have given.
    fn record(&mut self, into: &mut String) {
        into.push_str("```json\n{");
        for place in 0..3 + self.below(5) {
            if place > 0 {
                into.push_str(", ");
            }
            let (key, number, cents) = (
                self.word().to_owned(),
                self.below(1_000_000),
                self.below(100),
            );
            let value = match self.below(3) {
                0 => format!("{number}.{cents:02}"),
                1 => format!("\"{} {}\"", self.word().to_owned(), number),
                _ => format!("[\"{:08x}\", {cents}]", self.number() >> 32),
            };
            _ = write!(into, "\"{key}_{place}\": {value}");
        }
        into.push_str("}\n```\n");
    }

    pub(crate) fn text(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 256);
        while text.len() < bytes {
            match self.below(12) {
                0 if bytes > 400 => self.record(&mut text),
                1 => {
                    text.push_str("\n- ");
                    self.sentence(&mut text);
                }
                _ => self.sentence(&mut text),
            }
        }
        let end = text.floor_char_boundary(bytes);
        text.truncate(end);
        text
    }
}
