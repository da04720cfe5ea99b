import Foundation
import TensorKernels
import TestSupport
import Testing

/// The targets that share a source must not share compiled code: the linker keeps one of the functions that several
/// objects bring under one name, and a machine without AVX could meet AVX there.
@Suite("Twins")
struct TwinTests {
  #if WIDE_TWINS
    @Test(
      "bring no function that the linker may give to others", arguments: ["TensorKernelsAVX2", "TensorKernelsAVX512"])
    func weakFunctions(twin: String) async throws {
      let executable = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
      let folder = (executable as NSString).deletingLastPathComponent + "/\(twin).build"
      let object = folder + "/PairLoops.swift.o"
      try #require(FileManager.default.fileExists(atPath: object), "\(object) is where SwiftPM leaves it")
      let symbols = try await runTool("nm", [object]).output.split(separator: "\n")
      #expect(symbols.contains { $0.contains(twin) && $0.contains(" T ") })
      // W: a weak function. Those of the module's own types bear its name.
      let shared = symbols.filter { $0.contains(" W ") && !$0.contains(twin) }
      #expect(shared.isEmpty, "\(shared)")
    }
  #endif

  @Test("the widest that runs is chosen, and the baseline always runs")
  func choice() {
    #expect(InstructionSet.available.first == .baseline)
    #expect(InstructionSet.available.last == InstructionSet.current)
  }
}
