import Glibc

/// libFuzzer's loop over one of the readers: `Fuzz TARGET [CORPUS…] [-options]`, with libFuzzer's own options.
@main struct Fuzz {
  static func main() {
    var words = CommandLine.arguments
    guard words.count > 1, let target = Target(rawValue: words[1]) else {
      print("usage: Fuzz \(Target.allCases.map(\.rawValue).joined(separator: "|")) [CORPUS…] [-options]")
      exit(64)
    }
    words.remove(at: 1)
    Input.target = target
    var count = CInt(words.count)
    var pointers: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    let status = pointers.withUnsafeMutableBufferPointer { buffer in
      var first = buffer.baseAddress
      return runDriver(&count, &first) { data, size in
        Input.target.read(UnsafeRawBufferPointer(start: data, count: size))
        return 0
      }
    }
    exit(status)
  }
}

/// Which reader this process tries.
enum Input {
  // Set before the first input, in the one thread there is; libFuzzer's callback can bring nothing along.
  nonisolated(unsafe) static var target = Target.pickle
}

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ count: UnsafeMutablePointer<CInt>,
  _ words: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
  _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt
