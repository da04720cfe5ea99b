import Glibc

/// Where the server listens: `127.0.0.1:7450`, `[::1]:7450`, `localhost:7450`, `0.0.0.0:80`.
public struct ListenAddress: Sendable, Hashable, CustomStringConvertible {
  /// Without brackets.
  public var host: String
  /// 0: any free one.
  public var port: Int

  public static let standard = ListenAddress(host: "127.0.0.1", port: 7450)

  public init(host: String, port: Int) {
    self.host = host
    self.port = port
  }

  /// - Throws: `DashboardError.address` where `text` is not `HOST:PORT`.
  public init(parsing text: String) throws(DashboardError) {
    guard let colon = text.lastIndex(of: ":"), let port = Self.port(text[text.index(after: colon)...]) else {
      throw Self.refused(text)
    }
    var host = String(text[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = String(host.dropFirst().dropLast())
      guard Self.bytes(host, AF_INET6, 16) != nil else { throw Self.refused(text) }
    } else {
      guard !host.isEmpty, host.utf8.allSatisfy(Self.isOfName) else { throw Self.refused(text) }
    }
    self.init(host: host, port: port)
  }

  private static func refused(_ text: String) -> DashboardError {
    DashboardError(
      code: .address,
      message: "\(text.debugDescription) is no address to listen on; write HOST:PORT, such as 127.0.0.1:7450.")
  }

  private static func port(_ text: Substring) -> Int? {
    guard (1...5).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return Int(text).flatMap { (0...65_535).contains($0) ? $0 : nil }
  }

  private static func isOfName(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "."), UInt8(ascii: "-"): true
    default: false
    }
  }

  /// Only programs of this machine reach it. A name counts where it is `localhost`: what another one means may change.
  public var isLoopback: Bool { Self.isLoopback(host) }

  static func isLoopback(_ host: String) -> Bool {
    if host.lowercased() == "localhost" { return true }
    if let address = bytes(host, AF_INET, 4) { return address[0] == 127 }
    return bytes(host, AF_INET6, 16).map { $0.dropLast().allSatisfy { $0 == 0 } && $0[15] == 1 } ?? false
  }

  private static func bytes(_ host: String, _ family: Int32, _ count: Int) -> [UInt8]? {
    var address = [UInt8](repeating: 0, count: count)
    return inet_pton(family, host, &address) == 1 ? address : nil
  }

  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
