/// Why a gang over several hosts failed: when one of its processes fails, all others do, too.
public enum GangCause {
  /// Of the shares that ended badly, the one that did so first by one clock; nil where all ended well.
  ///
  /// Those that we stopped, or that a signal ended while another did so by itself, are its victims.
  ///
  /// - Parameter ends: How each share ended, and its host's clock minus ours, seconds.
  public static func first(of ends: [(record: ExitRecord, clockOffset: Double)]) -> Int? {
    let failures = ends.indices.filter { !isWell(ends[$0].record) }
    let stopped: Set<String> = ["cancelled", "gang", "not-released"]
    let own = failures.filter { ends[$0].record.reason.map { !stopped.contains($0) } ?? true }
    let bySelf = own.filter { ends[$0].record.signal == nil }
    let candidates = bySelf.isEmpty ? (own.isEmpty ? failures : own) : bySelf
    return candidates.min { a, b in
      (ends[a].record.ended - ends[a].clockOffset, a) < (ends[b].record.ended - ends[b].clockOffset, b)
    }
  }

  /// `contended` is no failure.
  public static func isWell(_ record: ExitRecord) -> Bool {
    record.code == 0 && (record.reason == nil || record.reason == "contended")
  }
}
