import Crypto
import Foundation

/// Signed session cookies and the tokens of their forms. The key is of this process: all sessions end with it.
struct Sessions: Sendable {
  private let key = SymmetricKey(size: .bits256)
  static let seconds = 12.0 * 3600

  /// `RANDOM.EXPIRY.SIGNATURE`
  func make(now: Double) -> String {
    var random = SystemRandomNumberGenerator()
    let name = (0..<2).map { _ in String(random.next(), radix: 16) }.joined()
    let body = "\(name).\(Int(now + Self.seconds))"
    return "\(body).\(sign("session", body))"
  }

  func isValid(_ session: String, now: Double) -> Bool {
    let parts = session.split(separator: ".", omittingEmptySubsequences: false)
    guard session.utf8.count < 200, parts.count == 3, let expiry = Int(parts[1]), Double(expiry) > now else {
      return false
    }
    return isSigned("session", "\(parts[0]).\(parts[1])", String(parts[2]))
  }

  /// What a form of this session carries, so that no page of another site can send one.
  func formToken(_ session: String) -> String { sign("form", session) }

  func isFormToken(_ token: String, of session: String) -> Bool { isSigned("form", session, token) }

  private func sign(_ purpose: String, _ text: String) -> String {
    HMAC<SHA256>.authenticationCode(for: Data("\(purpose)\n\(text)".utf8), using: key).hexText
  }

  private func isSigned(_ purpose: String, _ text: String, _ signature: String) -> Bool {
    guard let given = [UInt8](hexText: signature) else { return false }
    return HMAC<SHA256>.isValidAuthenticationCode(given, authenticating: Data("\(purpose)\n\(text)".utf8), using: key)
  }
}

extension Sequence<UInt8> {
  var hexText: String {
    let digits = Array("0123456789abcdef")
    return String(flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
  }
}

extension [UInt8] {
  fileprivate init?(hexText text: String) {
    let digits = text.utf8.map { Character(UnicodeScalar($0)).hexDigitValue }
    guard digits.count.isMultiple(of: 2) else { return nil }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: digits.count, by: 2) {
      guard let high = digits[index], let low = digits[index + 1] else { return nil }
      bytes.append(UInt8(high << 4 | low))
    }
    self = bytes
  }
}
