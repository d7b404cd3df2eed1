//! What a piece of personal data is sealed for: bound into the ciphertext, so that a sealed name
//! put where an address belongs does not open.

/// A user's mail address.
pub const USER_EMAIL: &str = "user.email";

/// A user's name.
pub const USER_NAME: &str = "user.name";

/// A user's phone number.
pub const USER_PHONE: &str = "user.phone";

/// An address in a user's address book.
pub const USER_ADDRESS: &str = "user.address";

/// A user's password hash.
pub const USER_PASSWORD: &str = "user.password";

/// Where an order goes.
pub const ORDER_SHIPPING_ADDRESS: &str = "order.shipping_address";
