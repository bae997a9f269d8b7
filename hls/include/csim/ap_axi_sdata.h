// ap_axiu for g++: the open headers with ap_int.h do not include it. Vitis HLS has its own
// ap_axi_sdata.h and must not see this folder.
#pragma once

#include <ap_int.h>

// The side channels that cmamba uses: TKEEP, TSTRB and TLAST.
template <int DataBits, int UserBits, int IdBits, int DestBits>
struct ap_axiu {
  static_assert(UserBits == 0 && IdBits == 0 && DestBits == 0,
                "TUSER, TID and TDEST are not modelled");
  ap_uint<DataBits> data = 0;
  ap_uint<DataBits / 8> keep = 0;
  ap_uint<DataBits / 8> strb = 0;
  ap_uint<1> last = 0;
};
