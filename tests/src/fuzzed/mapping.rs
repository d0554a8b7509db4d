//! `--key` and mapping files.

use std::path::Path;

use tallystick_protocol::identifiers::{Profile, series, tables_hash};
use tallystick_tables::{KeySpec, Mapping, Part};

use super::input::Input;

fn check(key: &KeySpec) {
    assert_eq!(key.parts().len(), key.ty().forms()[key.form()].len());
    for part in key.parts().iter().flatten() {
        let (Part::Column(text) | Part::Constant(text)) = part;
        assert!(
            !text.is_empty() && text.trim() == text,
            "a part is not trimmed"
        );
    }
}

fn flag(text: &str) {
    let Ok(key) = KeySpec::parse(text) else {
        return;
    };
    check(&key);
    assert_eq!(
        KeySpec::parse(&key.to_string()).ok(),
        Some(key),
        "shown, it reads back"
    );
}

fn file(text: &str) {
    let Ok(mapping) = Mapping::from_toml(text, Path::new("a.mapping.toml")) else {
        return;
    };
    assert!(!mapping.keys().is_empty());
    mapping.keys().iter().for_each(check);
    for (i, key) in mapping.keys().iter().enumerate() {
        assert!(!mapping.keys()[..i].contains(key), "a key twice");
    }
    let label = mapping.label();
    assert!(
        label
            .iter()
            .all(|column| !column.is_empty() && column.trim() == column)
    );
    assert_eq!(mapping.types().len(), {
        let mut types: Vec<_> = mapping.keys().iter().map(KeySpec::ty).collect();
        types.sort();
        types.dedup();
        types.len()
    });
    let again = Mapping::from_flags(mapping.keys().to_vec(), label.to_vec());
    assert_eq!(again.ok().as_ref(), Some(&mapping));
}

/// A profile that is read makes keys within its budget, and its hash follows from its parts.
fn profile(text: &str) {
    let Ok(profile) = Profile::from_toml(text) else {
        return;
    };
    let parts = profile.parts().iter();
    let hash = tables_hash(
        profile.id(),
        parts.map(|part| (part.name.as_str(), part.hash())),
    );
    assert_eq!(hash, profile.tables_hash());
    for ty in profile.types() {
        assert!(!profile.rules(*ty).is_empty());
        let mut keys = Vec::new();
        let who = [
            "Jürgen Åke",
            "O'Brien Müller",
            "12.08.1974",
            "Leningrad",
            "D",
            "dmy",
        ];
        let who = &who[..ty.forms()[0].len().min(6)];
        let _ = profile.keys(*ty, 0, who, &mut keys);
        assert!(
            keys.iter()
                .all(|key| profile.rules(*ty).contains(&key.rule))
        );
    }
}

/// Two ends and how many at most, in lines.
fn series(text: &str) {
    let mut lines = text.lines();
    let [from, to] = [(); 2].map(|()| lines.next().unwrap_or_default());
    if let Ok(series) = series::expand(from, to, 500) {
        let members: Vec<String> = series.map(|member| member.to_string()).collect();
        assert!((1..=500).contains(&members.len()));
        let mut distinct = members.clone();
        distinct.dedup();
        assert_eq!(distinct.len(), members.len());
    }
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.below(4);
    let Ok(text) = std::str::from_utf8(input.rest()) else {
        return;
    };
    match kind {
        0 => flag(text),
        1 => file(text),
        2 => profile(text),
        _ => series(text),
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let file = "\x01[[key]]\ntype = \"document\"\nnumber = \"no\"\nstate = \"=UTO\"\n\n[[key]]\ntype = \
                \"text\"\nvalue = \"name\"\n\n[label]\ncolumns = [\"file\", \"handling\"]\n";
    let profile = "\x02id = \"ours/1\"\nkeys_per_row = 40\ntypes = [\"person\", \"text\"]\n[person]\n\
                   minimum_elements = 2\nrules = [\"exact\", \"one-edit\"]\ntransliterations = 3\n";
    [
        "\0document=number,=UTO",
        "\0text= name ",
        "\0bytes==x=y",
        "\0bytes== x ",
        "\0person:mrz=zone",
        "\0person=g,s,b,,,=dmy",
        file,
        profile,
        "\x03AB0098\nAB0102\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
