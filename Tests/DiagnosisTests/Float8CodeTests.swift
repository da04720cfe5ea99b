import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Reporting
import TestSupport
import Testing

/// Tensors of PyTorch's 8-bit floats, where one side's codes are read as another type.
@Suite(.timeLimit(.minutes(30))) struct Float8CodeTests {
  /// - Parameters:
  ///   - reference, target: Python over `w`, a float32 tensor with negative zeros, and `plain`, the same without.
  ///   - ranks: that the target is cut into.
  private func report(
    _ scratch: Scratch, _ reference: String, _ target: String, ranks: Int = 1
  ) async throws -> ComparisonReport {
    try await runPython(
      """
      import sys, torch
      torch.manual_seed(0)
      plain = torch.randn(64, 256)
      # Nothing that becomes a zero by rounding.
      plain[plain.abs() < 0.02] = 0.5
      w = torch.where(torch.arange(256) % 7 == 0, torch.tensor(-0.0), plain)
      fn, fnuz, e5, e5nuz = (getattr(torch, "float8_" + n) for n in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz"))
      def read(t, dtype): return t.view(torch.uint8).view(dtype)
      for folder, value, ranks in ((sys.argv[1], eval(sys.argv[3]), 1), (sys.argv[2], eval(sys.argv[4]), \(ranks))):
          for rank in range(ranks):
              part = value.view(torch.uint8).chunk(ranks, 1)[rank].clone().view(value.dtype)
              for call in range(2):
                  torch.save({"hidden": part}, f"{folder}/layer00_Linear_rank{rank}_call00{call}.pt")
      """, [try scratch.directory("ref"), try scratch.directory("tgt"), reference, target])
    let sides = try [("ref", 1), ("tgt", ranks)].map {
      ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path($0.0), layout: .atom), worldSize: $0.1)
    }
    return try await DumpComparer.compare(
      ComparisonRequest(reference: sides[0], target: sides[1], selection: .number(1)))
  }

  @Test(arguments: [
    // The same bytes under two names.
    ("w.to(fn)", "read(w.to(fn), fnuz)", 1), ("plain.to(fnuz)", "read(plain.to(fnuz), fn)", 1),
    ("w.to(e5)", "read(w.to(e5), e5nuz)", 1), ("w.to(fn)", "read(w.to(fn), fnuz)", 2),
    // Converted to the one type, and read as the other, in which its negative zeros are NaN.
    ("w.to(fnuz)", "read(w.to(fn), fnuz)", 1),
  ])
  func theCodesAreOfTheOtherVariant(_ reference: String, _ target: String, _ ranks: Int) async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, reference, target, ranks: ranks)
      #expect(report.verdict == .fail)
      let finding = try #require(report.findings.first)
      #expect(finding.cause == "float8-variant" && finding.confidence == .certain, "\(finding)")
      #expect(report.findings.count == 1, "\(report.findings)")
    }
  }

  /// The other way round the negative zeros are lost, as they also are by a sum with zero.
  @Test(arguments: [
    ("w.to(fn)", "read(w.to(fnuz), fn)", 1), ("w.to(fn)", "read(w.to(fnuz), fn)", 2),
    ("w.to(e5)", "read(w.to(e5nuz), e5)", 1), ("w.to(fn)", "(w * 2 + 0.0).to(fn)", 1),
  ])
  func lostNegativeZerosAreLikelyOfTheOtherVariant(_ reference: String, _ target: String, _ ranks: Int) async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, reference, target, ranks: ranks)
      #expect(report.verdict == .fail)
      #expect(report.findings.map(\.cause) == ["float8-variant", "repeated-scale"], "\(report.findings)")
      #expect(report.findings.map(\.confidence) == [.likely, .possible])
      #expect(report.findings.first?.summary.contains("negative zeros are positive") == true, "\(report.findings)")
    }
  }

  /// A scale alone keeps -0, and a factor of two without any is not told from one.
  @Test(arguments: [
    ("w.to(fn)", "(w * 2).to(fn)", "float8-variant"), ("plain.to(fn)", "read(plain.to(fnuz), fn)", "float8-variant"),
    ("w.to(fn)", "(w * 8).to(fn)", "repeated-scale"), ("w.to(fn)", "(w / 16).to(fn)", "missing-scale"),
    ("w.to(e5)", "(w * 4).to(e5)", "repeated-scale"),
  ])
  func aFactorIsOnlyLikely(_ reference: String, _ target: String, _ cause: String) async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, reference, target)
      #expect(report.verdict == .fail)
      #expect(report.findings.first?.cause == cause, "\(report.findings)")
      #expect(report.findings.allSatisfy { $0.confidence != .certain }, "\(report.findings)")
    }
  }

  @Test func anHonestConversionPasses() async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, "w.to(fn)", "w.to(fnuz)")
      #expect(report.verdict == .pass, "\(report.findings)")
    }
  }
}
