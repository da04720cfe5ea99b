// libdeflate as Swift sees it.
#pragma once
#include <libdeflate.h>
