import Foundation
public import Ledger
import OrderedCollections
public import Planning

/// Names of sweeps, runs and attempts: unique, readable, safe as directory names and as launcher ids.
public enum Naming {
  /// `tp-sweep-20261121-023000-1f3a`: sorts by time.
  public static func sweep(job: String, now: Double, random: UInt16) -> String {
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.timeZone = TimeZone(identifier: "UTC")
    formatter.dateFormat = "yyyyMMdd-HHmmss"
    let hex = String(random, radix: 16)
    let stamp = formatter.string(from: Date(timeIntervalSince1970: now))
    let name = slug(job, limit: 40).replacing(".", with: "-").replacing("=", with: "-")
    return "\(name)-\(stamp)-\(String(repeating: "0", count: 4 - hex.count))\(hex)"
  }

  /// One record for every repetition of every cell, repetitions last, so that a whole first round is had early.
  public static func runs(of plan: Plan, sweep: String) -> [RunRecord] {
    var taken: Set<String> = []
    var base: [String: String] = [:]
    for cell in plan.cells {
      var name = slug(cell.values.isEmpty ? "run" : cell.label.replacing(" ", with: "."), limit: 96)
      if !taken.insert(name).inserted {
        name = "\(name)-\(cell.id)"
        taken.insert(name)
      }
      base[cell.id] = name
    }
    var runs: [RunRecord] = []
    for repetition in 1...max(plan.repetitions, 1) {
      for cell in plan.cells {
        let suffix = plan.repetitions > 1 ? ".r\(repetition)" : ""
        runs.append(
          RunRecord(
            sweep: sweep, name: (base[cell.id] ?? cell.id) + suffix, position: runs.count, cell: cell.id,
            repetition: repetition))
      }
    }
    return runs
  }

  /// Letters, digits, `-` and `_`: what launchers take.
  public static func attempt(sweep: String, position: Int, number: Int) -> String {
    "\(sweep)-run\(position + 1)-try\(number)"
  }

  /// Keeps what any file system and shell takes.
  static func slug(_ text: String, limit: Int) -> String {
    let kept = text.unicodeScalars.map { scalar -> Character in
      let isSafe = scalar.isASCII && (scalar.properties.isAlphabetic || scalar.properties.numericType != nil)
      return isSafe || "-_.=".unicodeScalars.contains(scalar) ? Character(scalar) : "-"
    }
    let slug = String(kept.prefix(limit))
    return slug.hasPrefix(".") ? "-" + slug.dropFirst() : slug
  }
}
