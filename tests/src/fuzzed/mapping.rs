//! `--key` and mapping files.

use std::path::Path;

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

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.below(2);
    let Ok(text) = std::str::from_utf8(input.rest()) else {
        return;
    };
    match kind {
        0 => flag(text),
        _ => file(text),
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let file = "\x01[[key]]\ntype = \"document\"\nnumber = \"no\"\nstate = \"=UTO\"\n\n[[key]]\ntype = \
                \"text\"\nvalue = \"name\"\n\n[label]\ncolumns = [\"file\", \"handling\"]\n";
    [
        "\0document=number,=UTO",
        "\0text= name ",
        "\0bytes==x=y",
        "\0bytes== x ",
        file,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
