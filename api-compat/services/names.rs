//! Names for services that were given none. Draws nothing: entropy is passed in.

use skep_core::state::State;

const ADJECTIVES: [&str; 48] = [
    "able", "amber", "ample", "brave", "bright", "brisk", "calm", "candid", "clear", "clever",
    "cosy", "crisp", "deft", "eager", "early", "fair", "fond", "frank", "fresh", "gentle", "glad",
    "golden", "grand", "happy", "hardy", "keen", "kind", "lively", "loyal", "lucid", "mellow",
    "merry", "mild", "neat", "nimble", "noble", "patient", "plucky", "proud", "quick", "quiet",
    "sharp", "steady", "sunny", "swift", "tidy", "warm", "wise",
];

const SURNAMES: [&str; 48] = [
    "abel",
    "agnesi",
    "babbage",
    "banach",
    "bernoulli",
    "boole",
    "bose",
    "cantor",
    "cauchy",
    "clarke",
    "curie",
    "dirac",
    "euler",
    "faraday",
    "fermat",
    "fourier",
    "franklin",
    "galois",
    "gauss",
    "germain",
    "goedel",
    "hamilton",
    "herschel",
    "hilbert",
    "hooke",
    "hopper",
    "huber",
    "hypatia",
    "kepler",
    "kovalevskaya",
    "lagrange",
    "langstroth",
    "leibniz",
    "lovelace",
    "meitner",
    "mendel",
    "minsky",
    "newton",
    "noether",
    "pascal",
    "planck",
    "ramanujan",
    "riemann",
    "seeley",
    "shannon",
    "turing",
    "volta",
    "warder",
];

/// Attempts to find a name that no service has; after these the last is tried with a number.
const ATTEMPTS: u32 = 16;

/// Makes a name that no service has.
pub(super) fn fresh(state: &State, mut entropy: impl FnMut() -> u128) -> String {
    let mut name = pick(entropy());
    for _ in 0..ATTEMPTS {
        let taken = |name: &str| {
            state.services().values().any(|service| service.spec.annotations.name == name)
        };
        if !taken(&name) {
            return name;
        }
        name = pick(entropy());
    }
    format!("{name}{}", entropy() % 1_000_000)
}

fn pick(entropy: u128) -> String {
    let word = |words: &[&'static str; 48], entropy: u128| {
        usize::try_from(entropy % 48).ok().and_then(|place| words.get(place)).copied().unwrap_or("")
    };
    format!("{}_{}", word(&ADJECTIVES, entropy), word(&SURNAMES, entropy / 48))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_two_words_and_valid() {
        for entropy in 0..48 * 48 {
            let name = fresh(&State::default(), || entropy);
            assert!(crate::validate::name(&name).is_ok(), "{name}");
            let words: Vec<&str> = name.split('_').collect();
            let lower = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
            assert!(words.len() == 2 && words.iter().all(lower), "{name}");
        }
    }
}
