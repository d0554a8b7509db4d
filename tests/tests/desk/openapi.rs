//! The description against what the endpoint does.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tallystick_client::desk::{Class, Conclusion, Presented};
use tallystick_tests::{
    fake_desk::{Served, number, passport},
    http1::{self, Answer},
};

fn ask(served: &Served, line: &str, body: Option<&str>, token: &str) -> Answer {
    let headers = [
        &format!("Host: {}", served.address),
        &format!("Authorization: Bearer {token}"),
        "Content-Type: application/json",
    ];
    http1::request(served.address, line, &headers, body)
}

fn description(served: &Served) -> Value {
    let answer = ask(served, "GET /v1/openapi.json", None, "");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

/// Follows `#/a/b`.
fn follow<'a>(all: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(path) => all.pointer(path.strip_prefix('#').unwrap()).unwrap(),
        None => value,
    }
}

/// What of `value` is not as `schema` says: the part of JSON Schema that the description uses, and a
/// panic at any other.
fn unlike(all: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let schema = follow(all, schema);
    let mut wrong = Vec::new();
    for (word, says) in schema.as_object().unwrap() {
        let holds = match word.as_str() {
            "description" => true,
            "type" => match says.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_u64(),
                "boolean" => value.is_boolean(),
                other => panic!("{other}"),
            },
            "const" => value == says,
            "enum" => says.as_array().unwrap().contains(value),
            "required" => {
                let mut names = says.as_array().unwrap().iter();
                names.all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "oneOf" => {
                let fits = |one: &&Value| unlike(all, one, value, at).is_empty();
                says.as_array().unwrap().iter().filter(fits).count() == 1
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    wrong.extend(unlike(all, says, item, &format!("{at}[{i}]")));
                }
                true
            }
            "properties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    if let Some(of_member) = says.get(name) {
                        wrong.extend(unlike(all, of_member, member, &format!("{at}.{name}")));
                    }
                }
                true
            }
            "additionalProperties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    if schema["properties"].get(name).is_none() {
                        match says {
                            Value::Bool(false) => wrong.push(format!("{at}.{name}: unknown")),
                            of_others => wrong.extend(unlike(all, of_others, member, at)),
                        }
                    }
                }
                true
            }
            other => panic!("{other} is not looked at"),
        };
        if !holds {
            wrong.push(format!("{at}: {word}"));
        }
    }
    wrong
}

#[test]
fn what_does_not_fit_is_seen() {
    let schema = json!({"type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"enum": [1]}, "b": {"type": "array", "items": {"type": "string"}}}});
    let fits = |value| unlike(&Value::Null, &schema, &value, "").is_empty();
    assert!(fits(json!({"a": 1})) && fits(json!({"a": 1, "b": ["x"]})));
    for bad in [
        json!({}),
        json!({"a": 2}),
        json!({"a": 1, "c": 1}),
        json!({"a": 1, "b": [1]}),
        json!(1),
    ] {
        assert!(!fits(bad.clone()), "{bad}");
    }
}

#[test]
fn the_description_has_what_the_endpoint_has() {
    let served = Served::new();
    let all = description(&served);
    for (path, methods) in all["paths"].as_object().unwrap() {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let line = format!("{method} {path}");
            let status = ask(&served, &line, Some("{}"), &served.token).status;
            let described = methods.get(method.to_lowercase()).is_some();
            assert_eq!(described, status != 405, "{line}: {status}");
            assert_ne!(status, 404, "{line}");
            // It asks for the token where the description says so.
            if described {
                let method = &methods[method.to_lowercase()];
                let open = method["security"] == json!([]);
                let refused = ask(&served, &line, Some("{}"), "wrong").status == 401;
                assert_eq!(open, !refused, "{line}");
            }
        }
    }
    let paths: BTreeSet<&String> = all["paths"].as_object().unwrap().keys().collect();
    let routes = ["/v1/check", "/v1/openapi.json", "/v1/status"].map(str::to_owned);
    assert_eq!(paths, routes.iter().collect());
}

#[test]
fn every_answer_is_as_it_is_described() {
    let served = Served::new();
    let all = description(&served);
    let schema = |name: &str| all["components"]["schemas"][name].clone();
    let fits = |name: &str, value: &Value| {
        let wrong = unlike(&all, &schema(name), value, name);
        assert!(wrong.is_empty(), "{wrong:?}\n{value}");
    };
    for conclusion in Conclusion::ALL {
        let body = match conclusion {
            Conclusion::Unreadable => json!({"mrz": "half"}),
            _ => json!({"mrz": passport(&number(conclusion, false)), "id": "1"}),
        };
        fits("Presented", &body);
        let answer = ask(
            &served,
            "POST /v1/check",
            Some(&body.to_string()),
            &served.token,
        );
        let verdict = answer.json();
        assert_eq!(verdict["conclusion"], conclusion.name());
        fits("Verdict", &verdict);
    }
    fits(
        "Status",
        &ask(&served, "GET /v1/status", None, &served.token).json(),
    );
    for (line, body, token, status) in [
        ("POST /v1/check", "x", served.token.as_str(), 400),
        ("POST /v1/check", "{}", "wrong", 401),
        ("GET /v2", "", "", 404),
        ("PUT /v1/check", "", "", 405),
    ] {
        let answer = ask(&served, line, Some(body), token);
        assert_eq!(answer.status, status, "{line}");
        fits("Problem", &answer.json());
    }
}

/// Every class of a reason.
const CLASSES: [Class; 12] = [
    Class::Unreadable,
    Class::Reported,
    Class::Watchlisted,
    Class::Impossible,
    Class::NeverIssued,
    Class::OtherHolder,
    Class::Misread,
    Class::Contradiction,
    Class::Issued,
    Class::Consistent,
    Class::NotFound,
    Class::Note,
];

/// Names in the description are those of the types, and each member it names is taken.
#[test]
fn its_names_are_those_of_the_program() {
    let served = Served::new();
    let all = description(&served);
    let schemas = &all["components"]["schemas"];
    let conclusions: Vec<&str> = Conclusion::ALL.iter().map(|one| one.name()).collect();
    assert_eq!(
        schemas["Verdict"]["properties"]["conclusion"]["enum"],
        json!(conclusions)
    );
    let classes: Vec<Value> = CLASSES.iter().map(|class| json!(class)).collect();
    assert_eq!(
        schemas["Reason"]["properties"]["class"]["enum"],
        json!(classes)
    );
    for (name, of) in schemas["Presented"]["properties"].as_object().unwrap() {
        let value = match name.as_str() {
            "mrz" => json!(passport("L898902C3")),
            "kind" => of["enum"][0].clone(),
            _ => json!("1"),
        };
        let mut document = json!({"number": "1", name: value});
        assert!(
            Presented::from_line(&document.to_string()).is_ok(),
            "{name}"
        );
        document["unheard_of"] = json!("1");
        assert!(Presented::from_line(&document.to_string()).is_err());
    }
}
