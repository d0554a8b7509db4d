use super::*;
use proptest::prelude::*;

fn code(flag: &str) -> &'static str {
    KeySpec::parse(flag).unwrap_err().code()
}

fn toml(text: &str) -> Result<Mapping, TableError> {
    Mapping::from_toml(text, Path::new("x.mapping.toml"))
}

#[test]
fn flags_parse() {
    let key = KeySpec::parse("document=passport,=UTO").unwrap();
    assert_eq!(key.ty(), IdentifierType::Document);
    assert_eq!(
        key.parts(),
        [
            Some(Part::Column("passport".into())),
            Some(Part::Constant("UTO".into()))
        ]
    );
    let key = KeySpec::parse(" text = full name ").unwrap();
    assert_eq!(key.parts(), [Some(Part::Column("full name".into()))]);
    let key = KeySpec::parse("text=a=b").unwrap();
    assert_eq!(key.parts(), [Some(Part::Column("a=b".into()))]);
}

#[test]
fn wrong_flags_are_refused() {
    for flag in [
        "",
        "document",
        "passport=a,b",
        "padding=a",
        "text=",
        "text==",
        "document=a,",
    ] {
        assert_eq!(code(flag), "mapping-key", "{flag}");
    }
    for (flag, found) in [("document=a", 1), ("document=a,b,c", 3), ("text=a,b", 2)] {
        let e = KeySpec::parse(flag).unwrap_err();
        assert_eq!(e.code(), "mapping-key-parts");
        assert!(e.to_string().contains(&format!("not {found}")), "{e}");
    }
    let shown = KeySpec::parse("document=passport").unwrap_err().to_string();
    assert!(
        shown.contains("takes the parts number, state, or mrz, not 1"),
        "{shown}"
    );
}

#[test]
fn from_flags_checks_the_whole() {
    let key = || KeySpec::parse("text=a").unwrap();
    let code = |keys, label| Mapping::from_flags(keys, label).unwrap_err().code();
    assert_eq!(code(vec![], vec![]), "mapping-no-keys");
    assert_eq!(code(vec![key(), key()], vec![]), "mapping-repeated");
    assert_eq!(
        code(vec![key()], vec!["x".into(), " x".into()]),
        "mapping-repeated"
    );
    assert_eq!(code(vec![key()], vec![" ".into()]), "mapping-label-column");
    let two = vec![key(), KeySpec::parse("text=b").unwrap()];
    let mapping = Mapping::from_flags(two, vec![" case ".into()]).unwrap();
    assert_eq!(mapping.label(), ["case"]);
    assert_eq!(mapping.types(), [IdentifierType::Text]);
    assert_eq!(mapping.keys().len(), 2);
}

#[test]
fn file_equals_flags() {
    let file = toml(
        "[[key]]\ntype = \"document\"\nnumber = \"passport\"\nstate = \"=UTO\"\n\
         [[key]]\ntype = \"bytes\"\nvalue = \"a,b\"\n\
         [label]\ncolumns = [\"case\", \"handling\"]\n",
    )
    .unwrap();
    let key = KeySpec::parse("document=passport,=UTO").unwrap();
    assert_eq!(file.keys()[0], key);
    assert_eq!(file.keys()[1].parts(), [Some(Part::Column("a,b".into()))]);
    assert_eq!(file.label(), ["case", "handling"]);
}

#[test]
fn wrong_files_are_refused() {
    let bad = [
        ("", "mapping-no-keys"),
        ("[label]\ncolumns=[\"a\"]", "mapping-no-keys"),
        ("[[key]]\nvalue=\"a\"", "mapping-key"),
        ("[[key]]\ntype=\"persons\"", "mapping-key"),
        ("[[key]]\ntype=\"person\"", "mapping-key-field"),
        ("[[key]]\ntype=\"text\"", "mapping-key-field"),
        ("[[key]]\ntype=\"text\"\nvalue=\" \"", "mapping-key-field"),
        (
            "[[key]]\ntype=\"text\"\nvalue=\"a\"\nstate=\"b\"",
            "mapping-key-field",
        ),
        (
            "[[key]]\ntype=\"text\"\nvalue=\"a\"\n[label]\ncolumns=[\"\"]",
            "mapping-label-column",
        ),
        ("[[key]]\ntype=\"text\"\nvalue=1", "mapping-file"),
        (
            "[[key]]\ntype=\"text\"\nvalue=\"a\"\n[label]\ncolumns=[]\nrows=1",
            "mapping-file",
        ),
        ("[[keys]]\n", "mapping-file"),
        ("not toml", "mapping-file"),
    ];
    for (text, want) in bad {
        assert_eq!(toml(text).unwrap_err().code(), want, "{text}");
    }
    let shown = toml("[[key]]\ntype=\"text\"\nvalue=\"a\"\n[other]\n")
        .unwrap_err()
        .to_string();
    assert!(
        shown.contains("x.mapping.toml, line 4") && shown.contains("other"),
        "{shown}"
    );
    let shown = toml("[[key]]\ntype=\"document\"\nnumber=\"a\"")
        .unwrap_err()
        .to_string();
    assert!(shown.contains("needs the field \"state\""), "{shown}");
}

#[test]
fn files_are_read_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mapping.toml");
    assert_eq!(Mapping::from_file(&path).unwrap_err().code(), "table-io");
    std::fs::write(&path, "[[key]]\ntype=\"text\"\nvalue=\"a\"\n").unwrap();
    assert_eq!(Mapping::from_file(&path).unwrap().keys().len(), 1);
    std::fs::write(&path, "#".repeat(MAX_MAPPING_BYTES as usize + 1)).unwrap();
    assert_eq!(
        Mapping::from_file(&path).unwrap_err().code(),
        "mapping-file"
    );
}

proptest! {
    #[test]
    fn flags_print_as_they_parse(a in "[a-z_][a-z ]{0,5}[a-z]", b in "=?[A-Z]{1,4}") {
        let flag = format!("document={a},{b}");
        let key = KeySpec::parse(&flag).unwrap();
        prop_assert_eq!(key.to_string(), flag);
    }

    #[test]
    fn any_flag_is_safe(flag in any::<String>()) {
        let _ = KeySpec::parse(&flag);
        let _ = toml(&flag);
    }
}

#[test]
fn persons_have_optional_parts_and_another_form() {
    let flag = KeySpec::parse("person=given,family,born").unwrap();
    let file = toml(
        "[[key]]\ntype = \"person\"\ngiven_name = \"given\"\nsurname = \"family\"\nbirth_date = \"born\"\n",
    )
    .unwrap();
    assert_eq!(file.keys()[0], flag);
    assert_eq!(flag.parts().iter().flatten().count(), 3);
    let ordered = KeySpec::parse("person=given,family,born,,,=dmy").unwrap();
    let order = Some(Part::Constant("dmy".to_owned()));
    assert_eq!(ordered.parts()[3..], [None, None, order]);
    assert_eq!(KeySpec::parse(&ordered.to_string()).unwrap(), ordered);
    let zone = KeySpec::parse("person:mrz=zone").unwrap();
    let file = toml("[[key]]\ntype = \"person\"\nmrz = \"zone\"\n").unwrap();
    assert_eq!(file.keys()[0], zone);
    assert_eq!(zone.to_string(), "person:mrz=zone");
    assert_eq!(code("person=given,family,born,,,=dym"), "mapping-key");
    assert_eq!(code("text:mrz=zone"), "mapping-key");
    assert_eq!(code("person=given,,born"), "mapping-key");
    let both = "[[key]]\ntype = \"document\"\nmrz = \"zone\"\nnumber = \"n\"\nstate = \"s\"\n";
    assert_eq!(toml(both).unwrap_err().code(), "mapping-key-field");
}

#[test]
fn a_type_that_the_profile_does_not_have_is_refused() {
    let mapping = Mapping::from_flags(vec![KeySpec::parse("name=a,b").unwrap()], vec![]).unwrap();
    let strict = Arc::new(Profile::built_in("eu-strict").unwrap());
    let refused = mapping.clone().with_profile(strict).unwrap_err();
    assert_eq!(refused.code(), "type-not-in-profile");
    let wide = Arc::new(Profile::built_in("eu-wide").unwrap());
    assert_eq!(
        mapping.with_profile(wide).unwrap().profile().id(),
        "eu-wide/1"
    );
}

/// Parts at the end may be left out where a type can do without.
#[test]
fn a_phone_has_a_region_or_none() {
    for (flag, parts) in [
        ("phone=tel", 1),
        ("phone=tel,country", 2),
        ("phone=tel,=GB", 2),
        ("wallet=address", 1),
    ] {
        let key = KeySpec::parse(flag).unwrap();
        assert_eq!(key.parts().iter().flatten().count(), parts, "{flag}");
        assert_eq!(key.to_string(), flag);
    }
    assert_eq!(code("phone=tel,=GB,x"), "mapping-key-parts");
    assert_eq!(code("plate=number"), "mapping-key-parts");
    assert_eq!(code("holder=number,state"), "mapping-key-parts");
    let holder = "[[key]]\ntype = \"holder\"\nnumber = \"n\"\nstate = \"=UTO\"\nsurname = \"f\"\n\
        given_name = \"g\"\nbirth_date = \"b\"\n";
    let holder = toml(holder).unwrap();
    assert_eq!(
        holder.keys(),
        [KeySpec::parse("holder=n,=UTO,f,g,b").unwrap()]
    );
    let file = toml("[[key]]\ntype = \"phone\"\nnumber = \"tel\"\n").unwrap();
    assert_eq!(file.keys(), [KeySpec::parse("phone=tel").unwrap()]);
    let without = toml("[[key]]\ntype = \"phone\"\nregion = \"=GB\"\n").unwrap_err();
    assert!(without.to_string().contains("needs the field"), "{without}");
}
