//! The shape that every command has: a struct of what it needs, a builder for what it may be told besides, and a variant of the
//! enum that an endpoint takes.

macro_rules! commands {
    (
        $(#[$enum_doc:meta])* enum $command:ident { $($(#[$nested_doc:meta])* $nested:ident($inner:ident)),* $(,)? }
        $($(#[$doc:meta])* $name:ident {
            $($(#[$field_doc:meta])* $field:ident: $type:ty),+ $(,)?
            $(; $($(#[$more_doc:meta])* $more:ident: $more_type:ty),+ $(,)?)?
        })+
    ) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            #[non_exhaustive]
            pub struct $name<'a> {
                $($(#[$field_doc])* pub $field: $type,)+
                $($($(#[$more_doc])* pub $more: $more_type,)+)?
            }

            impl<'a> $name<'a> {
                /// The command with all that it needs.
                #[must_use]
                pub fn new($($field: $type),+) -> Self {
                    Self { $($field,)+ $($($more: Default::default(),)+)? }
                }
                $($(
                    $(#[$more_doc])*
                    #[must_use]
                    pub fn $more(mut self, $more: $more_type) -> Self {
                        self.$more = $more;
                        self
                    }
                )+)?
            }

            impl<'a> From<$name<'a>> for $command<'a> {
                fn from(command: $name<'a>) -> Self {
                    Self::$name(command)
                }
            }
        )+

        $(#[$enum_doc])*
        #[derive(Debug, Clone, Copy)]
        #[non_exhaustive]
        pub enum $command<'a> {
            $($(#[$nested_doc])* $nested($inner<'a>),)*
            $($(#[$doc])* $name($name<'a>)),+
        }

        impl $command<'_> {
            /// The name of the command, for messages.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$nested(inner) => inner.name(),)*
                    $(Self::$name(_) => stringify!($name)),+
                }
            }
        }
    };
}

pub(crate) use commands;
