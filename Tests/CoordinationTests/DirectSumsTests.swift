import Alignment
import Comparison
import Coordination
import Dumps
import Foundation
import Reporting
import TestSupport
import Testing

/// Figures for which the sums of one pass do not do, beside PyTorch's in double precision.
@Suite(.timeLimit(.minutes(30))) struct DirectSumsTests {
  /// Rows of two weight files by the names of their tensors.
  ///
  /// - Parameter tensors: Python: a dictionary of pairs (reference, target), over `x`, float64 of 64 × 48.
  private func report(
    _ scratch: Scratch, _ tensors: String, policy: NoisePolicy = .measured(NoiseFloors())
  ) async throws -> (report: ComparisonReport, torch: [String: [Double]]) {
    let output = try await runPython(
      """
      import json, sys, torch
      torch.manual_seed(3)
      x = torch.randn(64, 48, dtype=torch.float64)
      z = torch.complex(x, torch.randn(64, 48, dtype=torch.float64))
      pairs = eval(sys.argv[3])
      for place, folder in enumerate(sys.argv[1:3]):
          values = {name: pair[place].clone() for name, pair in pairs.items()}
          torch.save({"_tp_rank": 0, "_tp_size": 1, "_layer": 0, **values}, folder + "/weight_rank0_layer0.pt")
      def figures(b, a):
          wide = torch.complex128 if b.is_complex() else torch.float64
          b, a = b.to(wide).flatten(), a.to(wide).flatten()
          d = (a - b).abs()
          parts = [torch.view_as_real(t).flatten() if t.is_complex() else t for t in (a, b)]
          rest = parts[0] - parts[0] @ parts[1] / (parts[1] @ parts[1]) * parts[1]
          return [(rest.norm() / parts[0].norm()).item(), d.max().item(), (d.max() / b.abs().max()).item(),
                  d.mean().item(), float(d.argmax())]
      print(json.dumps({name: figures(*pair) for name, pair in pairs.items()}).replace("NaN", "0"))
      """, [try scratch.directory("ref"), try scratch.directory("tgt"), tensors]
    ).output
    let sides = try ["ref", "tgt"].map {
      ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path($0), layout: .weights), worldSize: 1)
    }
    let report = try await DumpComparer.compare(
      ComparisonRequest(reference: sides[0], target: sides[1], policy: policy))
    return (report, try JSONDecoder().decode([String: [Double]].self, from: Data(output.utf8)))
  }

  @Test func residualsAndMagnitudesAgreeWithPyTorch() async throws {
    try await Scratch.with { scratch in
      let (report, torch) = try await report(
        scratch,
        """
        {"three": (x, 3 * x), "third": (x, x * 4 / 3), "turned": (x, -2.5 * x + 1e-6 * torch.randn_like(x)),
         "near": (x, 1.0001 * x + 1e-9 * torch.randn_like(x)), "noise": (x, x + 1e-4 * torch.randn_like(x)),
         "small": (x.float(), (1.04 * x).float()), "bf16": (x.bfloat16(), (2 * x).bfloat16()),
         "complex": (z, z + 0.01 * z.flip(0)), "complex64": (z.to(torch.complex64), (z * 1.5j).to(torch.complex64))}
        """)
      #expect(report.rows.count == 9)
      for row in report.rows {
        let measures = try #require(row.measures)
        let theirs = try #require(torch[row.tensor], "\(row)")
        let ours = [measures.residual, measures.maxAbs, measures.rel, measures.meanAbs]
        for (mine, other) in zip(ours, theirs) { #expect(abs(mine - other) <= 1e-12 * max(1, other), "\(row)") }
        let place = zip(measures.worstCoordinate, [48, 1]).reduce(0) { $0 + $1.0 * $1.1 }
        #expect(place == Int(theirs[4]), "\(row)")
      }
    }
  }

  /// Numbers whose squares no double holds: never a PASS unless they are equal, and no trap.
  @Test(arguments: [
    ("x * 1e-165, x * -1e-165", Verdict.inconclusive), ("x * 1e-300, x * 0", .inconclusive),
    ("x * 0 + 1e154, x * 0 + 1.2e154", .inconclusive),
    ("x * 0 + 1e200, x * 0 + 1.1e200", .inconclusive),
    ("x * 1e200, x * -1e200", .fail), ("x, x * 1e200", .fail), ("x * 1e200, x", .fail),
    ("x * 1e200, x * 1e200", .pass), ("x * 1e-300, x * 1e-300", .pass), ("x * 1e-100, x * 1.5e-100", .fail),
  ])
  func squaresBeyondADouble(_ pair: String, _ verdict: Verdict) async throws {
    try await Scratch.with { scratch in
      let tensors = "{'w': tuple(t.double() for t in (\(pair)))}"
      let (found, _) = try await report(scratch, tensors)
      #expect(found.verdict == verdict, "\(found.rows)")
      // ATOM's own formula calls everything equal that is below 1e-12.
      let isTiny = pair.contains("e-100")
      for policy in [NoisePolicy.strict, .atom, .triage] where policy == .strict || !isTiny {
        let fixed = try await report(scratch, tensors, policy: policy).report
        #expect((fixed.verdict == .pass) == (verdict == .pass), "\(policy): \(fixed.rows)")
      }
    }
  }
}
