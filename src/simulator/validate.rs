//! The rules that an emission's fields must keep. Broken ones are named all at once, in the
//! `fieldErrors` of one problem document.

use super::book::Order;
use super::config::{Config, PhoneNumbers};
use super::problem::{FieldError, Problem};
use super::wire::{EmitBody, Item, PROVIDERS, PaymentMode, TaxPayer, Whole};

/// Most characters of a reference or a code.
const MAX_REFERENCE: usize = 255;

const MISSING: &str = "ne doit pas être nul";
const EMPTY: &str = "ne doit pas être vide";
const TOO_LONG: &str = "la taille doit être comprise entre 1 et 255";
const NOT_POSITIVE: &str = "doit être supérieur à 0";
const NEGATIVE: &str = "doit être supérieur ou égal à 0";
const NOT_A_PHONE_NUMBER: &str = "doit correspondre à \"^[6-9][0-9]{7}$\"";
const NOT_AN_INTERNATIONAL_NUMBER: &str = "doit correspondre à \"^\\+223[6-9][0-9]{7}$\"";
const NOT_A_PROVIDER: &str = "n'est pas un mode de paiement connu";
const NOT_A_URL: &str = "doit être une URL valide";

/// Collects what is wrong with one object of the request.
pub(super) struct Check {
    object: &'static str,
    errors: Vec<FieldError>,
}

impl Check {
    pub(super) fn of(object: &'static str) -> Self {
        Self { object, errors: Vec::new() }
    }

    fn fault(&mut self, field: impl Into<String>, message: &'static str) {
        self.errors.push(FieldError { object_name: self.object, field: field.into(), message });
    }

    /// Text that must be there; what it is, or nothing if it is at fault.
    pub(super) fn text(&mut self, field: &str, value: Option<String>) -> String {
        match &value {
            None => self.fault(field, MISSING),
            Some(text) if text.trim().is_empty() => self.fault(field, EMPTY),
            Some(text) if text.chars().count() > MAX_REFERENCE => self.fault(field, TOO_LONG),
            Some(_) => {}
        }
        value.unwrap_or_default()
    }

    fn number(&mut self, field: impl Fn() -> String, value: Option<Whole>, least: i64) -> i64 {
        match value {
            None => self.fault(field(), MISSING),
            Some(Whole(number)) if number < least => {
                self.fault(field(), if least == 0 { NEGATIVE } else { NOT_POSITIVE });
            }
            Some(_) => {}
        }
        value.map_or(0, |Whole(number)| number)
    }

    fn url(&mut self, field: &str, value: Option<&String>) {
        let web = |url: url::Url| matches!(url.scheme(), "http" | "https");
        if value.is_some_and(|text| !text.parse().is_ok_and(web)) {
            self.fault(field, NOT_A_URL);
        }
    }

    fn tax_payer(&mut self, payer: &TaxPayer, phone_numbers: PhoneNumbers) {
        let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.trim().is_empty());
        if !filled(&payer.name) && !filled(&payer.company_name) {
            self.fault("taxPayer.name", EMPTY);
        }
        let number = payer.phone_number.as_deref();
        match phone_numbers {
            PhoneNumbers::National if number.is_some_and(|number| !national(number)) => {
                self.fault("taxPayer.phoneNumber", NOT_A_PHONE_NUMBER);
            }
            PhoneNumbers::International => match number.map(|number| number.strip_prefix("+223")) {
                None => self.fault("taxPayer.phoneNumber", MISSING),
                Some(digits) if !digits.is_some_and(national) => {
                    self.fault("taxPayer.phoneNumber", NOT_AN_INTERNATIONAL_NUMBER);
                }
                Some(_) => {}
            },
            PhoneNumbers::National | PhoneNumbers::Any => {}
        }
    }

    /// The sum of the items, as wide as it takes.
    fn items(&mut self, items: &[Item]) -> i128 {
        let mut sum = 0;
        for (index, item) in items.iter().enumerate() {
            let field = |name: &'static str| move || format!("items[{index}].{name}");
            if item.name.as_ref().is_none_or(|name| name.trim().is_empty()) {
                self.fault(field("name")(), EMPTY);
            }
            if item.code_nature_recette.as_ref().is_none_or(|code| code.trim().is_empty()) {
                self.fault(field("codeNatureRecette")(), EMPTY);
            }
            let quantity = self.number(field("quantity"), item.quantity, 1);
            let unit_price = self.number(field("unitPrice"), item.unit_price, 0);
            sum += i128::from(quantity) * i128::from(unit_price);
        }
        sum
    }

    fn payment_modes(&mut self, modes: &[PaymentMode]) {
        for (index, mode) in modes.iter().enumerate() {
            let field = |name: &'static str| move || format!("authorizedPaymentModes[{index}].{name}");
            match mode.code_provider.as_deref() {
                None => self.fault(field("codeProvider")(), MISSING),
                Some(code) if !PROVIDERS.contains(&code) => {
                    self.fault(field("codeProvider")(), NOT_A_PROVIDER);
                }
                Some(_) => {}
            }
            if let Some(amount) = mode.amount {
                self.number(field("amount"), Some(amount), 0);
            }
        }
    }

    pub(super) fn done(self) -> Result<(), Problem> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::validation(self.errors)) }
    }
}

/// Exactly the 8 national digits.
fn national(number: &str) -> bool {
    number.len() == 8
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && matches!(number.as_bytes()[0], b'6'..=b'9')
}

/// The codes of a request must be those of a registered application.
pub(super) fn codes(config: &Config, code_client: &str, code_structure: &str) -> Result<(), Problem> {
    if !config.knows_structure(code_structure) {
        return Err(Problem::structure_not_found());
    }
    if !config.knows_codes(code_client, code_structure) {
        return Err(Problem::service_client_not_found());
    }
    Ok(())
}

/// Turns the body of an emission into an order: fields first, then the codes, then the total.
pub(super) fn order(config: &Config, body: EmitBody) -> Result<Order, Problem> {
    let mut check = Check::of("noticeRecette");
    let client_reference = check.text("reference", body.reference);
    let code_client = check.text("codeClient", body.code_client);
    let code_structure = check.text("codeStructure", body.code_structure);
    let net_total = check.number(|| "netTotal".to_owned(), body.net_total, 1);
    check.url("callback", body.callback.as_ref());
    check.url("redirectUrl", body.redirect_url.as_ref());
    match &body.tax_payer {
        None => check.fault("taxPayer", MISSING),
        Some(payer) => check.tax_payer(payer, config.phone_numbers),
    }
    let items = body.items.unwrap_or_default();
    if items.is_empty() {
        check.fault("items", EMPTY);
    }
    let sum = check.items(&items);
    check.payment_modes(body.authorized_payment_modes.as_deref().unwrap_or_default());
    check.done()?;
    codes(config, &code_client, &code_structure)?;
    if sum != i128::from(net_total) {
        return Err(Problem::wrong_total());
    }
    let Some(tax_payer) = body.tax_payer else { return Err(Problem::http(400, None)) };
    Ok(Order {
        client_reference,
        code_client,
        code_structure,
        net_total,
        tax_payer,
        items,
        authorized_payment_modes: body.authorized_payment_modes,
        callback: body.callback,
        redirect_url: body.redirect_url,
    })
}
