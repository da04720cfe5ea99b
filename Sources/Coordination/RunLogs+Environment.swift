import Foundation
import Launching
import Ledger

extension RunLogs {
  /// The attempt with what its run found on the host when it began, beside what the host told of itself. The exit
  /// record that was gathered with the logs has it.
  func withEnvironment(_ attempt: AttemptRecord) -> AttemptRecord {
    guard let text = text(of: attempt, "exit.json"),
      let record = try? JSONDecoder().decode(ExitRecord.self, from: Data(text.utf8)), let found = record.environment
    else { return attempt }
    var attempt = attempt
    // Written by a host: few, short, and of the names that we know the form of.
    for (key, value) in found.sorted(by: { $0.key < $1.key }).prefix(32) {
      guard (1...40).contains(key.utf8.count), key.utf8.allSatisfy({ (0x61...0x7A).contains($0) || $0 == 0x5F }) else {
        continue
      }
      attempt.facts[key] = String(
        value.unicodeScalars.filter { (0x20...0x7E).contains($0.value) }.map(Character.init).prefix(200))
    }
    return attempt
  }
}
