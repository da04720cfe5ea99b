public import Dumps

/// Which type values were rounded to before they were stored in a finer one: NumPy knows no bfloat16, and `.float()`
/// in a hook keeps every value and loses the type.
public enum RoundedValues {
  /// Of a float32 result one value in 65,536 is a bfloat16 by chance, so a few say it all.
  private static let fewest = 64

  /// The coarsest of bfloat16 and float16 in which every value is exact, where that is coarser than `dtype`.
  ///
  /// - Parameter values: a sample.
  /// - Returns: nil also where the values say nothing: too few that are finite and not 0, or whole numbers alone
  ///   (positions, counts, masks), which are exact in any type.
  public static func type(of values: [Double], storedAs dtype: DType) -> DType? {
    let telling = values.filter { $0.isFinite && $0 != 0 }
    guard telling.filter({ $0.rounded() != $0 }).count >= fewest, Set(telling).count >= fewest / 4 else { return nil }
    let candidates: [(DType, (Double) -> Bool)] = [
      (.bfloat16, { Double(Float($0)) == $0 && Float($0).bitPattern & 0xFFFF == 0 }),
      (.float16, { Double(Float16($0)) == $0 }),
    ]
    return candidates.first { type, isExact in
      Judge.roundingFloor(type) > Judge.roundingFloor(dtype) && telling.allSatisfy(isExact)
    }?.0
  }
}
