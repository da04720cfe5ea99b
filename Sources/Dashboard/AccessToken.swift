import Crypto
import Foundation

/// The secret that a reader from another machine must show.
public struct AccessToken: Sendable {
  private let digest: SHA256Digest

  static let shortest = 16

  /// - Throws: `DashboardError.token` where it is too short or holds what a header cannot.
  public init(_ text: String) throws(DashboardError) {
    guard text.utf8.count >= Self.shortest, text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
      throw DashboardError(
        code: .token,
        message: "A token has at least \(Self.shortest) printable characters and no spaces; make one with: "
          + "head -c 32 /dev/urandom | base64")
    }
    digest = SHA256.hash(data: Data(text.utf8))
  }

  /// Reads it from a file that not everybody may read.
  /// - Throws: `DashboardError.token`.
  public init(file path: String) throws(DashboardError) {
    let attributes = try? FileManager.default.attributesOfItem(atPath: path)
    guard let attributes, attributes[.type] as? FileAttributeType == .typeRegular,
      (attributes[.size] as? Int ?? 0) <= 4096, let data = FileManager.default.contents(atPath: path)
    else { throw DashboardError(code: .token, message: "Cannot read the token file \(path).") }
    guard let mode = attributes[.posixPermissions] as? Int, mode & 0o007 == 0 else {
      throw DashboardError(
        code: .token, message: "Everybody may read the token file \(path); take that away with: chmod 600 \(path)")
    }
    try self.init(String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines))
  }

  /// Takes the same time wherever the two differ.
  func matches(_ text: String) -> Bool { SHA256.hash(data: Data(text.utf8)) == digest }
}
