import Glibc

/// `swift run -c release Benchmarks [--json] [FILE.pt …]`
@main
enum Main {
  static func main() throws {
    let arguments = CommandLine.arguments.dropFirst()
    let isJSON = arguments.contains("--json")
    let cases = try Cases(dumps: arguments.filter { $0 != "--json" })
    let results = try cases.list.map { try $0.measure() }
    print(isJSON ? json(results) : table(results))
  }

  private static func table(_ results: [Benchmark.Result]) -> String {
    let rows = results.map { result in
      let throughput = result.throughput.map { fixed($0, 2) } ?? ""
      let (median, fastest) = (fixed(result.seconds * 1e6, 2), fixed(result.fastest * 1e6, 2))
      return "| \(result.name) | \(median) | \(fastest) | \(throughput) |"
    }
    return (["| one thread, median | µs | fastest µs | GB/s |", "|---|---|---|---|"] + rows).joined(separator: "\n")
  }

  /// Names are ours or file names without quotes; numbers are finite.
  private static func json(_ results: [Benchmark.Result]) -> String {
    let rows = results.map { result in
      let name = result.name.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
      let throughput = result.throughput.map { "\($0)" } ?? "null"
      return "  {\"name\": \"\(name)\", \"seconds\": \(result.seconds), \"fastest\": \(result.fastest), "
        + "\"runs\": \(result.runs), \"gigabytes_per_second\": \(throughput)}"
    }
    return "[\n" + rows.joined(separator: ",\n") + "\n]"
  }

  private static func fixed(_ value: Double, _ digits: Int) -> String {
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let rounded = (value * scale).rounded() / scale
    return "\(rounded)"
  }
}
