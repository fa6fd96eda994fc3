//! Keys that take one word of a few: each an enum with the words of the configuration.

/// A closed list of words.
pub(super) trait Choice: Copy + 'static {
    /// Every word with what it means.
    const WORDS: &'static [(&'static str, Self)];
}

/// Finds `text` among the words of `T`; they are lower case and so must it be.
pub(super) fn parse<T: Choice>(text: &str) -> Result<T, String> {
    T::WORDS.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| *word).collect();
        format!("expected one of {}", words.join(", "))
    })
}

macro_rules! choice {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// The word of the configuration.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl Choice for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant),)+];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

choice! {
    /// Which platform this is (`environment`).
    Environment {
        /// The test platform.
        Sandbox = "sandbox",
        /// The real one: notices bill.
        Production = "production",
        /// Another one, such as the simulator: both URLs are given.
        Custom = "custom",
    }
}

choice! {
    /// How the client shows its secret to the token endpoint (`auth.client_authentication`).
    ClientAuthentication {
        /// In the form of the request.
        Body = "body",
        /// By HTTP Basic.
        Basic = "basic",
    }
}

choice! {
    /// What becomes of a phone number that is no Malian one (`notice.other_phone_numbers`).
    OtherPhoneNumbers {
        /// It is sent as it came.
        Send = "send",
        /// It is left out.
        Omit = "omit",
    }
}

choice! {
    /// What settles an emission that was never answered (`emit.on_uncertain`).
    OnUncertain {
        /// An operator decides.
        Hold = "hold",
        /// A cancel proves that nothing live remains, then it is emitted again.
        Cancel = "cancel",
        /// It is emitted again under the same reference.
        Resend = "resend",
    }
}

choice! {
    /// When the delivery of a paid notice is acknowledged (`confirm.delivery`).
    Delivery {
        /// When an application or operator asks.
        OnCommand = "on_command",
        /// As soon as the payment is recorded.
        OnPaid = "on_paid",
        /// Not even when asked.
        Never = "never",
    }
}

choice! {
    /// What is logged (`log.level`).
    LogLevel {
        /// Nothing.
        Off = "off",
        /// What failed for good.
        Error = "error",
        /// What somebody should look at.
        Warn = "warn",
        /// What happened.
        Info = "info",
        /// Why it happened.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choice! {
    /// How the log is written (`log.format`).
    LogFormat {
        /// The one that suits where the log goes.
        Auto = "auto",
        /// Lines for a person.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
        /// Fields for journald; text where there is none, saying so.
        Journald = "journald",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_and_any_other_names_the_choice() {
        assert_eq!(parse("cancel"), Ok(OnUncertain::Cancel));
        assert_eq!(parse::<OnUncertain>("Cancel"), Err("expected one of hold, cancel, resend".to_owned()));
        assert!(parse::<LogLevel>("tresorpayd=debug,info").is_err());
    }
}
