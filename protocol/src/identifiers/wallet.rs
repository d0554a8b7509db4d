//! Addresses of crypto-asset wallets.
//!
//! | Chain | Form | Check |
//! |---|---|---|
//! | `bitcoin` | base58check, versions 0x00 (P2PKH) and 0x05 (P2SH), 20 bytes | double SHA-256 |
//! | `bitcoin` | segwit, `bc1…`, BIP 173 (version 0, bech32) and BIP 350 (1 to 16, bech32m) | BCH code |
//! | `ethereum` | `0x` and 40 hexadecimal digits | the mixed case of EIP-55, where it is mixed |
//! | `tron` | base58check, version 0x41, 20 bytes | double SHA-256 |
//!
//! The chain follows from the form; a chain that is given as the second part must agree. One thing
//! a form cannot tell: addresses of forks of Bitcoin in its own old format, and those of chains that
//! share Ethereum's, look the same. They are the same key of the same owner, and match as such.
//!
//! The value is the canonical text of what was decoded, one text for each pair of chain and payload:
//! base58check as it stands (its check leaves one spelling), segwit in lower case, Ethereum in lower
//! case. Test networks are refused. `bitcoin:` (BIP 21) and `ethereum:` in front, and what stands
//! behind `?`, are taken off. Hexadecimal digits without `0x` are taken where the chain is given.

use bech32::primitives::decode::SegwitHrpstring;
use sha2::{Digest, Sha256};
use sha3::Keccak256;
use zeroize::Zeroizing;

use super::short::{Short, strip_prefix_ignore_case};
use super::{Element, IdentifierType, Normalised, Reject, key_text};

/// Characters of the longest address, BIP 173.
const MAX_ADDRESS: usize = 90;

/// Version, 20 bytes of hash, 4 of checksum.
const BASE58_PAYLOAD: usize = 25;

/// Hexadecimal digits of an Ethereum address.
const HEX_DIGITS: usize = 40;

/// What a profile says of this type.
pub(super) const RULES: &str = "wallet.address: trim White_Space; strip bitcoin:, ethereum:, '?…'; \
     bitcoin: base58check 0x00, 0x05, or BIP 173/350 with bc, to lower case; ethereum: 0x and 40 \
     hex digits, EIP-55 where mixed, to lower case; tron: base58check 0x41\nwallet.chain: empty or \
     as the address says\n";

/// A chain whose addresses are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chain {
    Bitcoin,
    Ethereum,
    Tron,
}

impl Chain {
    const fn name(self) -> &'static str {
        match self {
            Self::Bitcoin => "bitcoin",
            Self::Ethereum => "ethereum",
            Self::Tron => "tron",
        }
    }

    /// A name or a ticker, in any case. `None` is an empty cell.
    fn given(raw: &str) -> Result<Option<Self>, Reject> {
        let names = [
            (Self::Bitcoin, ["bitcoin", "btc"]),
            (Self::Ethereum, ["ethereum", "eth"]),
            (Self::Tron, ["tron", "trx"]),
        ];
        let raw = raw.trim();
        if raw.is_empty() {
            return Ok(None);
        }
        let known = names
            .into_iter()
            .find(|(_, names)| names.iter().any(|name| raw.eq_ignore_ascii_case(name)));
        known
            .map(|(chain, _)| Some(chain))
            .ok_or(Reject::WalletChain)
    }
}

/// Canonical form of an address. `chain` may be empty.
pub(super) fn normalise(address: &str, chain: &str) -> Result<Option<Normalised>, Reject> {
    let address = address.trim();
    if address.is_empty() {
        return Ok(None);
    }
    let given = Chain::given(chain)?;
    let (address, scheme) = bare(address);
    let given = match (given, scheme) {
        (Some(given), Some(scheme)) if given != scheme => return Err(Reject::WalletChain),
        (given, scheme) => given.or(scheme),
    };
    let (chain, canonical) = decoded(address, given)?;
    if given.is_some_and(|given| given != chain) {
        return Err(Reject::WalletChain);
    }
    let ty = IdentifierType::Wallet;
    Ok(Some(Normalised {
        element: Element::encode(ty.name(), chain.name(), canonical.as_slice()),
        key_text: key_text(ty, Some(chain.name()), canonical.as_str()),
    }))
}

/// The address without the scheme and the query of a URI, and the chain that the scheme names.
fn bare(raw: &str) -> (&str, Option<Chain>) {
    let schemes = [("bitcoin:", Chain::Bitcoin), ("ethereum:", Chain::Ethereum)];
    for (scheme, chain) in schemes {
        if let Some(rest) = strip_prefix_ignore_case(raw, scheme) {
            return (rest.split('?').next().unwrap_or(rest), Some(chain));
        }
    }
    (raw, None)
}

/// The chain of an address, and its canonical text.
fn decoded(address: &str, given: Option<Chain>) -> Result<(Chain, Short<MAX_ADDRESS>), Reject> {
    if !address.is_ascii() || address.len() > MAX_ADDRESS {
        return Err(Reject::WalletForm);
    }
    if let Some(digits) = strip_prefix_ignore_case(address, "0x") {
        return Ok((Chain::Ethereum, ethereum(digits)?));
    }
    if given == Some(Chain::Ethereum) && address.len() == HEX_DIGITS {
        return Ok((Chain::Ethereum, ethereum(address)?));
    }
    if strip_prefix_ignore_case(address, "bc1").is_some() {
        return Ok((Chain::Bitcoin, segwit(address)?));
    }
    base58check(address)
}

/// BIP 173 and 350: prefix, version, checksum, one case.
fn segwit(address: &str) -> Result<Short<MAX_ADDRESS>, Reject> {
    SegwitHrpstring::new(address).map_err(|_| Reject::WalletChecksum)?;
    let mut canonical = Short::new();
    let fits = address
        .bytes()
        .all(|b| canonical.push(b.to_ascii_lowercase()));
    if fits {
        Ok(canonical)
    } else {
        Err(Reject::WalletForm)
    }
}

/// 40 hexadecimal digits. EIP-55: a letter is upper case where the Keccak-256 hash of the lower case
/// text has a digit of 8 or more. Text of one case carries no check.
fn ethereum(digits: &str) -> Result<Short<MAX_ADDRESS>, Reject> {
    if digits.len() != HEX_DIGITS || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Reject::WalletForm);
    }
    let mut canonical = Short::<MAX_ADDRESS>::new();
    let lower = digits.bytes().map(|b| b.to_ascii_lowercase());
    if !canonical.push_all(b"0x") || !lower.into_iter().all(|b| canonical.push(b)) {
        return Err(Reject::WalletForm);
    }
    let mixed = digits.bytes().any(|b| b.is_ascii_uppercase())
        && digits.bytes().any(|b| b.is_ascii_lowercase());
    if mixed {
        let text = canonical.as_slice().get(2..).unwrap_or_default();
        let hash = Zeroizing::new(<[u8; 32]>::from(Keccak256::digest(text)));
        let nibbles = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let right = digits
            .bytes()
            .zip(nibbles)
            .all(|(b, nibble)| b.is_ascii_digit() || b.is_ascii_uppercase() == (nibble >= 8));
        if !right {
            return Err(Reject::WalletChecksum);
        }
    }
    Ok(canonical)
}

/// Version, 20 bytes and the first four bytes of their double SHA-256.
fn base58check(address: &str) -> Result<(Chain, Short<MAX_ADDRESS>), Reject> {
    let mut payload = Zeroizing::new([0; BASE58_PAYLOAD]);
    let written = bs58::decode(address).onto(&mut *payload);
    if written != Ok(BASE58_PAYLOAD) {
        return Err(Reject::WalletForm);
    }
    let (body, check) = payload.split_at(BASE58_PAYLOAD - 4);
    let once = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(body)));
    let twice = Sha256::digest(&once[..]);
    if twice.get(..4) != Some(check) {
        return Err(Reject::WalletChecksum);
    }
    let chain = match body.first() {
        Some(0x00 | 0x05) => Chain::Bitcoin,
        Some(0x41) => Chain::Tron,
        _ => return Err(Reject::WalletForm),
    };
    let mut canonical = Short::new();
    if !canonical.push_all(address.as_bytes()) {
        return Err(Reject::WalletForm);
    }
    Ok((chain, canonical))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(address: &str, chain: &str) -> Result<Option<String>, Reject> {
        Ok(normalise(address, chain)?.map(|n| n.key_text["wallet:".len()..].to_owned()))
    }

    /// From BIP 173, BIP 350, EIP-55, the Bitcoin genesis block and TRON's documentation.
    #[test]
    fn one_wallet_however_it_is_written() {
        for (written, chain, want) in [
            (
                "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
                "",
                "bitcoin:1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            ),
            (
                "bitcoin:1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa?amount=1",
                "BTC",
                "bitcoin:1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            ),
            (
                "3P14159f73E4gFr7JterCCQh9QjiTjiZrG",
                "Bitcoin",
                "bitcoin:3P14159f73E4gFr7JterCCQh9QjiTjiZrG",
            ),
            (
                "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
                "",
                "bitcoin:bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            ),
            (
                "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
                "",
                "bitcoin:bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            ),
            (
                "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
                "",
                "bitcoin:bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            ),
            (
                "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
                "",
                "ethereum:0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
            ),
            (
                "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
                "eth",
                "ethereum:0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
            ),
            (
                "0X5AAEB6053F3E94C9B9A09F33669435E7EF1BEAED",
                "",
                "ethereum:0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
            ),
            (
                " 5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed ",
                "Ethereum",
                "ethereum:0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
            ),
            (
                "ethereum:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
                "",
                "ethereum:0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
            ),
            (
                "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
                "TRX",
                "tron:TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
            ),
        ] {
            assert_eq!(text(written, chain), Ok(Some(want.to_owned())), "{written}");
        }
        // EIP-55's other examples.
        for mixed in [
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            assert!(text(mixed, "").unwrap().is_some(), "{mixed}");
        }
    }

    #[test]
    fn what_is_no_wallet_is_refused() {
        for raw in ["", " ", "\t"] {
            assert_eq!(text(raw, "bitcoin"), Ok(None));
        }
        for raw in [
            // One character changed.
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
            "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6T",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
            // Both cases.
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3T4",
            "Bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            // BIP 350: version 0 with bech32m, version 1 with bech32.
            "BC1Q0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL",
            "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4",
            "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed",
        ] {
            assert_eq!(text(raw, ""), Err(Reject::WalletChecksum), "{raw}");
        }
        for raw in [
            "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beae",
            "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaeg",
            "5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
            "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",
            "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn",
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7Divf0a",
            "1A1z P1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            "１A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            "n/a",
            "0x",
        ] {
            assert_eq!(text(raw, ""), Err(Reject::WalletForm), "{raw}");
        }
        for (raw, chain) in [
            ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "litecoin"),
            ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "tron"),
            ("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", "btc"),
            ("bitcoin:1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "tron"),
            ("ethereum:1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", ""),
        ] {
            assert_eq!(text(raw, chain), Err(Reject::WalletChain), "{raw} {chain}");
        }
    }

    /// Every single character put in place of another, in each form that has a check.
    #[test]
    fn a_wrong_character_is_seen() {
        for (good, alphabet) in [
            (
                "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
                "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz",
            ),
            (
                "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
                "qpzry9x8gf2tvdw0s3jn54khce6mua7l",
            ),
        ] {
            for at in 0..good.len() {
                for other in alphabet.chars() {
                    let mut wrong = good.to_owned();
                    wrong.replace_range(at..=at, &other.to_string());
                    assert!(wrong == good || text(&wrong, "").is_err(), "{wrong}");
                }
            }
        }
    }

    proptest! {
        /// Any hash makes an address that stays, and two hashes never meet.
        #[test]
        fn canonical_stays(a in any::<[u8; 20]>(), b in any::<[u8; 20]>(), version in 0_usize..3) {
            let make = |hash: &[u8; 20]| {
                let mut body = vec![[0, 5, 0x41][version]];
                body.extend_from_slice(hash);
                let check = Sha256::digest(Sha256::digest(&body));
                body.extend_from_slice(&check[..4]);
                let mut text = [0; 40];
                let len = bs58::encode(body).onto(&mut text[..]).unwrap();
                String::from_utf8(text[..len].to_vec()).unwrap()
            };
            let hex = |hash: &[u8; 20]| format!("0x{}", hex::encode_upper(hash));
            for make in [&make as &dyn Fn(&[u8; 20]) -> String, &hex] {
                let once = normalise(&make(&a), "").unwrap().unwrap();
                let (chain, address) = once.key_text["wallet:".len()..].split_once(':').unwrap();
                let twice = normalise(address, chain).unwrap().unwrap();
                prop_assert_eq!(&once.element, &twice.element);
                prop_assert_eq!(&*once.key_text, &*twice.key_text);
                let other = normalise(&make(&b), "").unwrap().unwrap();
                prop_assert_eq!(a == b, once.element == other.element);
            }
        }

        #[test]
        fn never_panics(raw in any::<String>(), chain in any::<String>(), near in "(bc1|0x|1|3|T)[0-9a-zA-Z]{0,95}") {
            let _ = text(&raw, &chain);
            let _ = text(&raw, "");
            let _ = text(&near, "");
            let _ = text(&near, "eth");
        }
    }
}
