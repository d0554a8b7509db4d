//! Codes of issuing states, organisations and nationalities.

/// The codes of ISO 3166-1 alpha-3 (249, as of 2025), in alphabetical order.
pub const ISO_3166: &str = "\
ABW AFG AGO AIA ALA ALB AND ARE ARG ARM ASM ATA ATF ATG AUS AUT AZE BDI BEL BEN BES BFA BGD BGR \
BHR BHS BIH BLM BLR BLZ BMU BOL BRA BRB BRN BTN BVT BWA CAF CAN CCK CHE CHL CHN CIV CMR COD COG \
COK COL COM CPV CRI CUB CUW CXR CYM CYP CZE DEU DJI DMA DNK DOM DZA ECU EGY ERI ESH ESP EST ETH \
FIN FJI FLK FRA FRO FSM GAB GBR GEO GGY GHA GIB GIN GLP GMB GNB GNQ GRC GRD GRL GTM GUF GUM GUY \
HKG HMD HND HRV HTI HUN IDN IMN IND IOT IRL IRN IRQ ISL ISR ITA JAM JEY JOR JPN KAZ KEN KGZ KHM \
KIR KNA KOR KWT LAO LBN LBR LBY LCA LIE LKA LSO LTU LUX LVA MAC MAF MAR MCO MDA MDG MDV MEX MHL \
MKD MLI MLT MMR MNE MNG MNP MOZ MRT MSR MTQ MUS MWI MYS MYT NAM NCL NER NFK NGA NIC NIU NLD NOR \
NPL NRU NZL OMN PAK PAN PCN PER PHL PLW PNG POL PRI PRK PRT PRY PSE PYF QAT REU ROU RUS RWA SAU \
SDN SEN SGP SGS SHN SJM SLB SLE SLV SMR SOM SPM SRB SSD STP SUR SVK SVN SWE SWZ SXM SYC SYR TCA \
TCD TGO THA TJK TKL TKM TLS TON TTO TUN TUR TUV TWN TZA UGA UKR UMI URY USA UZB VAT VCT VEN VGB \
VIR VNM VUT WLF WSM YEM ZAF ZMB ZWE";

/// The codes that Doc 9303-3 (eighth edition), section 5, adds: Germany (`D`); British persons who
/// are no citizens; the European Union; the United Nations; Kosovo; organisations that issue;
/// persons without a nationality; two withdrawn codes that old documents bear; and the state of
/// the specimens.
pub const ICAO: &str = "\
ANT D EUE GBD GBN GBO GBP GBS IAO NTZ RKS UNA UNK UNO UTO XBA XCC XCE XCO XDC XEC XES XIM XMP XOM \
XPO XXA XXB XXC XXX";

/// What stands for a nationality and issues nothing: stateless persons, refugees, other persons.
const PERSONS: &str = "XXA XXB XXC XXX";

/// The state of ICAO's specimens.
pub(super) const SPECIMEN: &str = "UTO";

/// Whether a state, organisation or group of persons has this code, in capitals and without
/// fillers. Codes come and go: one that is not listed may be newer than the list.
#[must_use]
pub fn is_known(code: &str) -> bool {
    has(ISO_3166, code) || has(ICAO, code)
}

/// Whether the code stands for persons alone, who hold documents and issue none.
pub(super) fn is_of_persons(code: &str) -> bool {
    has(PERSONS, code)
}

fn has(list: &str, code: &str) -> bool {
    list.split(' ').any(|known| known == code)
}

/// The code as keys of a match hold it: `D` is `DEU`, all else as it stands.
#[must_use]
pub fn canonical(code: &str) -> &str {
    if code == "D" { "DEU" } else { code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_in_order_and_of_their_size() {
        for (list, size) in [(ISO_3166, 249), (ICAO, 30)] {
            let codes: Vec<&str> = list.split(' ').collect();
            assert_eq!(codes.len(), size);
            assert!(codes.is_sorted_by(|a, b| a < b));
            assert!(codes.iter().all(|c| c.len() == 3 || *c == "D"));
            assert!(codes.concat().bytes().all(|b| b.is_ascii_uppercase()));
        }
    }

    #[test]
    fn codes_of_each_sort_are_known_and_others_not() {
        for code in [
            "FRA", "DEU", "D", "GBD", "GBS", "RKS", "UNO", "XXA", "XOM", "EUE", "UTO",
        ] {
            assert!(is_known(code), "{code}");
        }
        for code in [
            "", " ", "FR", "DE", "XKX", "ZZZ", "UT0", "fra", "FRA DEU", "A",
        ] {
            assert!(!is_known(code), "{code}");
        }
        assert!(is_of_persons("XXB") && !is_of_persons("UNO"));
        assert_eq!((canonical("D"), canonical("GBN")), ("DEU", "GBN"));
    }
}
