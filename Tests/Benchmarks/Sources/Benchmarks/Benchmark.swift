/// One thing that is timed: the median of several runs, each long enough for the clock.
struct Benchmark {
  var name: String
  /// Bytes that a run takes in; 0 where the figure is time a run.
  var bytes = 0
  /// What a run does `units` times: rows, files.
  var units = 1
  var body: () throws -> Void

  struct Result {
    var name: String
    var bytes: Int
    /// Median seconds of one run, over its units.
    var seconds: Double
    var fastest: Double
    var runs: Int
  }

  func measure(rounds: Int = 11) throws -> Result {
    // The first run pays for the page cache, tables and metadata.
    let once = try Self.seconds { try body() }
    let repeats = max(1, Int((0.02 / max(once, 1e-9)).rounded(.up)))
    var times: [Double] = []
    for _ in 0..<rounds {
      times.append(try Self.seconds { for _ in 0..<repeats { try body() } } / Double(repeats * units))
    }
    times.sort()
    return Result(
      name: name, bytes: bytes, seconds: times[times.count / 2], fastest: times[0], runs: rounds * repeats)
  }

  private static func seconds(_ body: () throws -> Void) rethrows -> Double {
    let time = try ContinuousClock().measure(body).components
    return Double(time.seconds) + Double(time.attoseconds) * 1e-18
  }
}

extension Benchmark.Result {
  /// GB/s of the median; nil for what has no bytes.
  var throughput: Double? { bytes > 0 ? Double(bytes) / seconds / 1e9 : nil }
}
